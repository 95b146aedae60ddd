/**
 * Makes a driver finish compiling. Some drivers leave the translation to machine code to a pipeline's first dispatch (Mesa's llvmpipe
 * spends over a second on the solve's kernels); one of no workgroups is enough for it and touches nothing.
 */

import { type CompiledKernel, PARAMS_BYTES } from "./pipelines.ts";

/** No shader asks for a larger binding before its arrays' first element. */
const BINDING_BYTES = 256;

/** Submits a dispatch of no workgroups for each kernel. `params` is the uniform buffer dispatches are given. */
export function dispatchNothing(
  device: GPUDevice,
  kernels: readonly CompiledKernel[],
  params: GPUBuffer,
): void {
  const scratch: GPUBuffer[] = [];
  // A buffer a binding: one bound twice in a dispatch could not be written.
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
