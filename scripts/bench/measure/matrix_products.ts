/**
 * The ways in which the `cpu` backend can multiply matrices. A bench times Pare in each way, because an installed library
 * can be faster than Pare's own WebAssembly.
 */

import type { Backend } from "../../../src/device/backend.ts";
import { findProducts } from "../../../src/device/cpu/products/find_products.ts";
import { rankProducts } from "../../../src/device/cpu/products/measure_products.ts";
import {
  type BackendChoice,
  type BackendLibraries,
  type Precision,
  selectBackend,
} from "../../../src/host/backends.ts";
import { SelfCheckError } from "../../../src/host/self_check/self_check.ts";
import type { BenchDevice } from "../report/results_file.ts";

export interface MatrixProducts extends Required<Pick<BackendLibraries, "products" | "precision">> {
  /** The name of the library. Absent if Pare's own WebAssembly or a GPU multiplies. */
  readonly library?: string;
  /** The device, whose adapter has the library in its name. */
  readonly device: BenchDevice;
}

/**
 * Returns the ways that this machine has. The first is without a library. For each precision follows the fastest library,
 * if it passes the self-check. A GPU has only the first way.
 */
export async function matrixProducts(
  backend: BackendChoice,
  precisions: readonly Precision[] = ["float32"],
): Promise<MatrixProducts[]> {
  const open = async (
    libraries: Required<Pick<BackendLibraries, "products" | "precision">>,
    library?: string,
  ) => {
    const describe = ({ kind, adapter }: Backend) =>
      Promise.resolve({ backend: kind, adapter: adapter.name });
    const device = await withBackend(backend, describe, libraries);
    return { ...libraries, ...(library && { library }), device };
  };
  const ways: MatrixProducts[] = [await open({ products: "own", precision: "float32" })];
  if (ways[0].device.backend !== "cpu") return ways;
  const found = findProducts({ products: "auto", precisions: ["float32", "bfloat16"] });
  for (const precision of precisions) {
    const libraries = found.filter((library) => library?.precision === precision);
    const [fastest] = await rankProducts(libraries);
    if (fastest?.library === undefined) continue;
    const { path, name } = fastest.library;
    try {
      ways.push(await open({ products: path, precision }, name));
    } catch (error) {
      if (!(error instanceof SelfCheckError)) throw error;
    }
  }
  return ways;
}

/**
 * Opens a backend, passes it to `use`, and disposes of it when `use` has finished. Afterwards a host can be timed without
 * interference from the threads and the memory of this backend. `libraries` has what multiplies matrices on the CPU.
 */
export async function withBackend<T>(
  choice: BackendChoice,
  use: (backend: Backend) => Promise<T>,
  libraries?: BackendLibraries,
): Promise<T> {
  const backend = await selectBackend(choice, libraries);
  try {
    return await use(backend);
  } finally {
    await backend.dispose();
  }
}

/** Returns the table cell that names the library that multiplied the matrices, or `own`. */
export function formatProducts({ library }: { readonly library?: string }): string {
  return library ?? "own";
}
