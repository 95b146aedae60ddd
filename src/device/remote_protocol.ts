/**
 * The messages between a `RemoteBackend` (`remote_backend.ts`) and the backend server in a Web Worker
 * (`backend_server.ts`). Messages identify buffers by numbers and kernels by names, and carry errors as plain data. The
 * messages are not validated, because both sides are always the same build of Pare.
 */

import type { Kernel } from "./kernels/kernel.ts";
import { KERNELS } from "./kernels/kernels.ts";
import { type Backend, DeviceLostError, OutOfDeviceMemoryError } from "./backend.ts";

/** A backend call that the server runs without a reply. */
export type QueuedCall =
  | {
    readonly name: "createBuffer";
    readonly id: number;
    readonly label: string;
    readonly byteLength: number;
  }
  | { readonly name: "destroyBuffer" | "clear"; readonly id: number }
  | {
    readonly name: "write";
    readonly id: number;
    readonly byteOffset: number;
    readonly bytes: Uint8Array<ArrayBuffer>;
    /** Whether the server must send the memory of `bytes` back. */
    readonly returnsMemory: boolean;
  }
  | {
    readonly name: "copy";
    readonly source: number;
    readonly sourceOffset: number;
    readonly target: number;
    readonly targetOffset: number;
    readonly byteLength: number;
  }
  | {
    readonly name: "dispatch";
    readonly kernel: string;
    readonly buffers: Readonly<Record<string, number>>;
    readonly params: Readonly<Record<string, number>>;
  };

/** A backend call to which the server replies when all earlier calls are done. */
export type AwaitedCall =
  | { readonly name: "read"; readonly id: number; readonly byteOffset: number; readonly byteLength: number }
  | { readonly name: "finish" }
  | { readonly name: "dispose" };

/** A message to the server: a batch of queued calls in order, or one awaited call with an id for its reply. */
export type RequestMessage =
  | { readonly queued: readonly QueuedCall[] }
  | { readonly awaited: AwaitedCall; readonly id: number };

/**
 * A message from the server. The first message describes the opened backend, or has the error if the backend could not
 * be opened. A later message returns the memory of a write, or carries the result of the awaited call with the same id.
 */
export type ReplyMessage =
  | { readonly opened: Pick<Backend, "kind" | "adapter" | "maxBufferBytes" | "memoryBytes"> }
  | { readonly failed: ErrorData }
  | { readonly returned: ArrayBuffer; readonly error?: ErrorData }
  | { readonly id: number; readonly bytes?: Uint8Array<ArrayBuffer>; readonly error?: ErrorData };

/** An error as plain data, because a structured clone of an error loses the error's class. */
export interface ErrorData {
  readonly name: string;
  readonly message: string;
}

/** Converts a thrown value, which can be anything in JavaScript, to plain data. */
export function toErrorData(error: unknown): ErrorData {
  return error instanceof Error
    ? { name: error.name, message: error.message }
    : { name: "Error", message: String(error) };
}

/** Restores an error with its class, if callers catch that class. Any other error becomes an Error with its name. */
export function fromErrorData({ name, message }: ErrorData): Error {
  if (name === "DeviceLostError") return new DeviceLostError(message);
  if (name === "OutOfDeviceMemoryError") return new OutOfDeviceMemoryError(message);
  if (name === "RangeError") return new RangeError(message);
  if (name === "TypeError") return new TypeError(message);
  return Object.assign(new Error(message), { name });
}

const KERNEL_BY_NAME = new Map(KERNELS.map((kernel) => [kernel.name, kernel]));

export function findKernel(name: string): Kernel {
  const kernel = KERNEL_BY_NAME.get(name);
  if (!kernel) throw new TypeError(`dispatch of ${name}: kernels.ts lists no kernel with this name`);
  return kernel;
}
