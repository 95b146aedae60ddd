/**
 * What a RemoteBackend and the BackendServer at the other end of its port tell each other. Buffers travel as numbers, kernels by name,
 * errors as plain data. Both ends are of one program: nothing here is checked.
 */

import type { Kernel } from "../kernels/kernel.ts";
import { KERNELS } from "../kernels/kernels.ts";
import { type Adapter, type Backend, DeviceLostError, OutOfRoomError } from "./backend.ts";

/** One call that waits for nothing. */
export type Command =
  | { readonly call: "create"; readonly id: number; readonly label: string; readonly byteLength: number }
  | { readonly call: "destroy" | "clear"; readonly id: number }
  | {
    readonly call: "write";
    readonly id: number;
    readonly byteOffset: number;
    readonly bytes: Uint8Array<ArrayBuffer>;
  }
  | {
    readonly call: "copy";
    readonly source: number;
    readonly sourceOffset: number;
    readonly target: number;
    readonly targetOffset: number;
    readonly byteLength: number;
  }
  | {
    readonly call: "dispatch";
    readonly kernel: string;
    readonly buffers: Readonly<Record<string, number>>;
    readonly params: Readonly<Record<string, number>>;
  };

/** A call that is answered once everything before it is done. */
export type Wait =
  | { readonly call: "read"; readonly id: number; readonly byteOffset: number; readonly byteLength: number }
  | { readonly call: "finish" }
  | { readonly call: "dispose" };

/** To the server: commands in order, or a wait with a number of its own. */
export type Request =
  | { readonly commands: readonly Command[] }
  | { readonly wait: Wait; readonly number: number };

/** From the server: first what it serves or why it cannot, then the answer of each wait. */
export type Reply =
  | { readonly opened: Pick<Backend, "kind" | "maxBufferBytes"> & { readonly adapter: Adapter } }
  | { readonly failed: ErrorData }
  | { readonly number: number; readonly bytes?: Uint8Array<ArrayBuffer>; readonly error?: ErrorData };

/** An error as it travels: structured clones keep no class of ours. */
export interface ErrorData {
  readonly name: string;
  readonly message: string;
}

/** @param error anything thrown */
export function toErrorData(error: unknown): ErrorData {
  return error instanceof Error
    ? { name: error.name, message: error.message }
    : { name: "Error", message: String(error) };
}

/** The error again, of its class where a caller tells it apart. */
export function fromErrorData({ name, message }: ErrorData): Error {
  if (name === "DeviceLostError") return new DeviceLostError(message);
  if (name === "OutOfRoomError") return new OutOfRoomError(message);
  if (name === "RangeError") return new RangeError(message);
  if (name === "TypeError") return new TypeError(message);
  return Object.assign(new Error(message), { name });
}

const BY_NAME = new Map(KERNELS.map((kernel) => [kernel.name, kernel]));

/** The kernel `name` stands for. @throws {TypeError} there is none */
export function kernelNamed(name: string): Kernel {
  const kernel = BY_NAME.get(name);
  if (!kernel) throw new TypeError(`dispatch of ${name}: no such kernel is in kernels.ts`);
  return kernel;
}
