/** Opens the backend of a command. */

import type { Backend } from "../device/backend.ts";
import { type BackendChoice, type BackendLibraries, selectBackend } from "../host/backends.ts";
import type { LogEntry } from "../host/log_entry.ts";
import { messageOf } from "../base/message_of.ts";
import { RefusedError } from "./errors.ts";

/** Opens a backend for forward passes and solves. @throws {RefusedError} if this machine does not have it */
export async function openBackend(
  choice: BackendChoice,
  { blas, webgpu }: BackendLibraries = {},
): Promise<Backend> {
  try {
    return await selectBackend(choice, { blas, webgpu, log: printRefusal });
  } catch (error) {
    throw new RefusedError(`option --backend ${choice}: ${messageOf(error)}`, { cause: error });
  }
}

/** Says on standard error why another backend than the GPU is used. */
function printRefusal({ reason, instead }: LogEntry): void {
  console.error(`${reason}. The backend ${instead} is used instead.`);
}
