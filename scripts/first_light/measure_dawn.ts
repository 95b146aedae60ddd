/**
 * Times the matrix products with Dawn, the WebGPU of Chromium, which can use the matrix units of a GPU. The other
 * steps use Deno's own WebGPU.
 */

import { fileURLToPath } from "node:url";
import { requestAdapter } from "../../src/device/webgpu/device.ts";
import { findDawn } from "../../src/device/webgpu/runtimes/dawn.ts";
import { hasMatrixUnits, type MatrixAdapter } from "../../src/device/webgpu/runtimes/matrix_units.ts";
import { type KernelRate, measureKernels } from "./kernel_rates.ts";
import { type Probe, probeAdapter } from "./probe.ts";
import type { LeftOut } from "./left_out.ts";

/** The adapter as Dawn describes it, and the rates of the products. */
export interface DawnRates {
  readonly probe: Probe;
  /** Whether Pare's products for matrix units run on this adapter. */
  readonly hasMatrixUnits: boolean;
  /** The rates by shader. The products of `product.ts` are included only if the adapter has matrix units. */
  readonly kernels: readonly KernelRate[];
}

/**
 * @param order the order of the square matrices
 * @param rounds how often each shader is timed
 */
export async function measureDawn(order: number, rounds: number): Promise<DawnRates | LeftOut> {
  if (!findDawn(fileURLToPath(import.meta.url))) {
    return { reason: "the npm package webgpu, which contains Dawn, is not installed" };
  }
  const request = () => requestAdapter(false, "dawn");
  return {
    probe: await probeAdapter(request),
    hasMatrixUnits: hasMatrixUnits(await request() as MatrixAdapter),
    kernels: await measureKernels({ order, rounds, runtime: "dawn", productsOnly: true }),
  };
}
