/** Opens the backend of a command. */

import type { Adapter, Backend } from "../device/backend.ts";
import { type BackendChoice, selectBackend, type SelectOptions } from "../host/backends.ts";
import { storesBfloat16 } from "../prune/block_plan.ts";
import type { Model } from "../model/model.ts";
import type { LogEntry } from "../host/metrics.ts";
import { messageOf } from "../base/errors.ts";
import { printableLine } from "../base/texts.ts";
import { RefusedError } from "./errors.ts";

/**
 * Opens a backend for forward passes and solves, and names a GPU on standard error.
 * @param cleanup disposes of the backend
 * @param model the model whose dtype decides how its activations are rounded
 * @throws {RefusedError} if this machine does not have the backend
 */
export async function openBackend(
  { backend: choice, ...options }: { readonly backend: BackendChoice } & SelectOptions,
  cleanup: AsyncDisposableStack,
  model?: Model,
): Promise<Backend> {
  try {
    const dtype = { storesBfloat16: model && storesBfloat16(model) };
    const backend = await selectBackend(choice, { log: printChoice, ...options, ...dtype });
    cleanup.adopt(backend, (opened) => opened.dispose());
    if (backend.kind === "webgpu") printAdapter(backend.adapter);
    return backend;
  } catch (error) {
    throw new RefusedError(`option --backend ${choice}: ${messageOf(error)}`, { cause: error });
  }
}

/** Names the adapter, and warns if it is not a GPU. */
function printAdapter({ name, software }: Adapter): void {
  console.error(printableLine(`device: ${name}`));
  if (!software) return;
  console.error(
    "warning: this adapter emulates a GPU on the processor, which takes many times as long as --backend cpu",
  );
}

/** Says on standard error which backend or products are used, and why. */
function printChoice({ event, products, reason, instead }: LogEntry): void {
  if (event === "products") console.error(`products: ${products}, because ${reason}`);
  else console.error(`${reason}. The backend ${instead} is used instead.`);
}
