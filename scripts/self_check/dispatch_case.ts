import type { Backend, DeviceBuffer } from "../../src/device/backend.ts";
import type { Kernel } from "../../src/device/kernels/kernel.ts";
import type { KernelCase, Values } from "../../src/device/kernels/kernel_case.ts";

/** Dispatches a case, and returns the results. Operands that are the same array share a buffer. */
export async function dispatchCase(
  backend: Backend,
  kernel: Kernel,
  before: Readonly<Record<string, Values>>,
  params: KernelCase["params"],
): Promise<Record<string, Values>> {
  const uploaded = new Map<Values, DeviceBuffer>();
  for (const values of new Set(Object.values(before))) {
    const buffer = backend.createBuffer(kernel.name, Math.max(4, values.byteLength));
    if (values.length) backend.write(buffer, 0, new Uint8Array(values.buffer));
    uploaded.set(values, buffer);
  }
  const buffers = Object.fromEntries(
    Object.entries(before).map(([name, values]) => [name, uploaded.get(values)!]),
  );
  backend.dispatch(kernel, buffers, params);
  const after: Record<string, Values> = {};
  for (const [name, values] of Object.entries(before)) {
    if (kernel.bindings[name] === "read") continue;
    const { buffer } = await backend.read(buffers[name], 0, values.byteLength);
    after[name] = values instanceof Float32Array ? new Float32Array(buffer) : new Uint32Array(buffer);
  }
  for (const buffer of uploaded.values()) buffer.destroy();
  return after;
}
