/** Opens a backend in the bench's own process, for measurements that cannot be made through requests. */

import { type BackendChoice, type BackendLibraries, selectBackend } from "../../../src/host/backends.ts";
import type { Backend } from "../../../src/device/backend.ts";

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
