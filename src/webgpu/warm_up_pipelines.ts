/**
 * Makes the driver finish the compilation of pipelines. Some drivers generate machine code only at the first
 * dispatch of a pipeline. For the kernels of a solve, this takes Mesa's llvmpipe more than a second. A
 * dispatch with no workgroups triggers the compilation and computes nothing. The number of workgroups comes
 * from a buffer, because Dawn prints a warning to standard output if a call passes 0.
 */

import { type CompiledKernel, PARAMS_BYTES } from "./pipeline_cache.ts";

/**
 * The size of the placeholder buffers in bytes. No shader requires a larger binding, because the arrays in
 * the shaders have no fixed size.
 */
const BINDING_BYTES = 256;

/** The size of the number of workgroups of one dispatch, along x, y and z, in bytes. */
const GRID_BYTES = 12;

/**
 * Submits a dispatch of no workgroups for each kernel.
 * @param params the uniform buffer with the parameters of dispatches
 */
export function warmUpPipelines(
  device: GPUDevice,
  kernels: readonly CompiledKernel[],
  params: GPUBuffer,
): void {
  const scratch: GPUBuffer[] = [];
  // One buffer per binding, because a buffer that a kernel writes can be bound only once in a dispatch.
  const buffer = (binding: number) =>
    scratch[binding] ??= device.createBuffer({
      label: "warm-up",
      size: BINDING_BYTES,
      usage: GPUBufferUsage.STORAGE,
    });
  // New buffers contain zeros.
  const noWorkgroups = device.createBuffer({ size: GRID_BYTES, usage: GPUBufferUsage.INDIRECT });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (const { layout, pipeline } of kernels) {
    const entries: GPUBindGroupEntry[] = layout.accesses.map((_, binding) => ({
      binding,
      resource: { buffer: buffer(binding) },
    }));
    entries.push({ binding: entries.length, resource: { buffer: params, size: PARAMS_BYTES } });
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: layout.bindGroupLayout, entries }), [0]);
    pass.dispatchWorkgroupsIndirect(noWorkgroups, 0);
  }
  pass.end();
  device.queue.submit([encoder.finish()]);
  for (const unused of [...scratch, noWorkgroups]) unused.destroy();
}
