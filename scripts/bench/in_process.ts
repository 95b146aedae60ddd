/** A backend in the benches' own process, for what requests cannot tell: the GEMM rate and the steps of a solve. */

import { type BackendChoice, selectBackend } from "../../src/host/backends.ts";
import type { Backend } from "../../src/backend/backend.ts";

/** Opens a backend for as long as `use` takes, so that its threads and memory are gone before a host is timed. */
export async function withBackend<T>(
  choice: BackendChoice,
  use: (backend: Backend) => Promise<T>,
): Promise<T> {
  const backend = await selectBackend(choice);
  try {
    return await use(backend);
  } finally {
    await backend.dispose();
  }
}
