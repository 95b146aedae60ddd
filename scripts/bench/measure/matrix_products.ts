/**
 * The ways in which the `cpu` backend can multiply matrices. A bench times Pare in each way, because an installed library
 * can be faster than Pare's own WebAssembly.
 */

import type { Backend } from "../../../src/device/backend.ts";
import { findProducts } from "../../../src/device/cpu/products/find_products.ts";
import { type BackendChoice, type BackendLibraries, selectBackend } from "../../../src/host/backends.ts";
import { SelfCheckError } from "../../../src/host/self_check/self_check.ts";
import type { BenchDevice } from "../report/results_file.ts";

export interface MatrixProducts extends Required<Pick<BackendLibraries, "products" | "precision">> {
  /** The name of the library. Absent if Pare's own WebAssembly or a GPU multiplies. */
  readonly library?: string;
  /** Whether a host without options chooses this way. */
  readonly isDefault: boolean;
  /** The device, whose adapter has the library in its name. */
  readonly device: BenchDevice;
}

/**
 * Returns the ways in float32 that this machine has. The first is without a library. The first library that passes the
 * self-check follows. A GPU has only the first way.
 */
export async function matrixProducts(backend: BackendChoice): Promise<MatrixProducts[]> {
  const precision = "float32",
    own = { products: "own", precision } as const,
    device = await openDevice(backend, own);
  if (device.backend !== "cpu") return [{ ...own, device, isDefault: true }];
  for (const library of findProducts({ products: "auto", precisions: [precision] })) {
    if (library === undefined) continue;
    const way = { products: library.path, precision } as const;
    try {
      const opened = await openDevice(backend, way);
      return [
        { ...own, device, isDefault: false },
        { ...way, library: library.name, device: opened, isDefault: true },
      ];
    } catch (error) {
      if (!(error instanceof SelfCheckError)) throw error;
    }
  }
  return [{ ...own, device, isDefault: true }];
}

/** Returns the kind and the adapter of the backend that a host with these options opens. */
export function openDevice(choice: BackendChoice, libraries: BackendLibraries): Promise<BenchDevice> {
  const describe = ({ kind, adapter }: Backend) => Promise.resolve({ backend: kind, adapter: adapter.name });
  return withBackend(choice, describe, libraries);
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
