/** Opens the backend of a command. */

import type { Backend } from "../device/backend.ts";
import { type BackendChoice, selectBackend, type SelectOptions } from "../host/backends.ts";
import type { LogEntry } from "../host/metrics.ts";
import { messageOf } from "../base/errors.ts";
import { RefusedError } from "./errors.ts";

/** Opens a backend for forward passes and solves. @throws {RefusedError} if this machine does not have it */
export async function openBackend(choice: BackendChoice, options: SelectOptions = {}): Promise<Backend> {
  try {
    return await selectBackend(choice, { log: printChoice, ...options });
  } catch (error) {
    throw new RefusedError(`option --backend ${choice}: ${messageOf(error)}`, { cause: error });
  }
}

/** Says on standard error which backend or products are used, and why. */
function printChoice({ event, products, reason, instead }: LogEntry): void {
  if (event === "products") console.error(`products: ${products}, because ${reason}`);
  else console.error(`${reason}. The backend ${instead} is used instead.`);
}
