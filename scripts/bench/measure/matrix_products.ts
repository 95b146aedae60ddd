/**
 * The ways in which the `cpu` backend can multiply matrices. A bench times Pare in each way, because the
 * library of the machine (`--blas auto`) can be faster than Pare's own WebAssembly (`--blas off`).
 */

import type { BackendChoice, BlasChoice } from "../../../src/host/backends.ts";
import { findBlas } from "../../../src/device/cpu/blas/find_blas.ts";
import { selectBackend } from "../../../src/host/backends.ts";
import type { BenchDevice } from "../report/results_file.ts";

/** One of these ways. */
export interface MatrixProducts {
  /** The value of the option `--blas`. */
  readonly blas: BlasChoice;
  /** The name of the library. Absent if Pare's own WebAssembly or a GPU multiplies. */
  readonly library?: string;
  /** The device, whose adapter has the library in its name. */
  readonly device: BenchDevice;
}

/**
 * Returns the ways that this machine has. The first is without a library. The second is with the library that
 * `--blas auto` finds, if it passes the self-check. A GPU has only the first way.
 */
export async function matrixProducts(backend: BackendChoice): Promise<MatrixProducts[]> {
  const own: MatrixProducts = { blas: "off", device: await openDevice(backend, "off") };
  const library = own.device.backend === "cpu" ? findBlas("auto")?.name : undefined;
  if (library === undefined) return [own];
  const device = await openDevice(backend, "auto");
  // A library that fails the self-check is not used, and then the adapter does not name it.
  return device.adapter.includes(library) ? [own, { blas: "auto", library, device }] : [own];
}

async function openDevice(choice: BackendChoice, blas: BlasChoice): Promise<BenchDevice> {
  const backend = await selectBackend(choice, { blas });
  try {
    return { backend: backend.kind, adapter: backend.adapter.name };
  } finally {
    await backend.dispose();
  }
}

/** Returns the table cell that names the library that multiplied the matrices, or `own`. */
export function formatProducts({ library }: { readonly library?: string }): string {
  return library ?? "own";
}
