/**
 * Makes a driver finish compiling before the first real dispatch. Some drivers translate to machine code only at the first dispatch of a
 * pipeline; Mesa's llvmpipe then spends over a second on the kernels of the solve. A dispatch of zero workgroups is enough to trigger
 * the translation, and it touches no memory.
 */

import { type CompiledKernel, PARAMS_BYTES } from "./pipeline_cache.ts";

/** Large enough for the smallest binding that any shader requires. */
const BINDING_BYTES = 256;

/** Submits a dispatch of zero workgroups for each kernel. `params` is the uniform buffer of the parameters. */
export function warmUpPipelines(
  device: GPUDevice,
  kernels: readonly CompiledKernel[],
  params: GPUBuffer,
): void {
  const scratch: GPUBuffer[] = [];
  // Each binding has its own buffer, because a buffer that is bound twice may not be written.
  const buffer = (binding: number) =>
    scratch[binding] ??= device.createBuffer({
      label: "warm-up",
      size: BINDING_BYTES,
      usage: GPUBufferUsage.STORAGE,
    });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (const { layout, pipeline } of kernels) {
    const entries: GPUBindGroupEntry[] = layout.accesses.map((_, binding) => ({
      binding,
      resource: { buffer: buffer(binding) },
    }));
    entries.push({ binding: entries.length, resource: { buffer: params, size: PARAMS_BYTES } });
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: layout.group, entries }), [0]);
    pass.dispatchWorkgroups(0);
  }
  pass.end();
  device.queue.submit([encoder.finish()]);
  for (const unused of scratch) unused.destroy();
}
