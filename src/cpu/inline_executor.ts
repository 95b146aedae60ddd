/** The executor without worker threads: {@link Executor.push} runs the command on the calling thread before it returns. */

import { DeviceLostError } from "../backend/backend.ts";
import { MAX_ARGS } from "./command_ring.ts";
import type { Executor } from "./executor.ts";
import type { KernelInstance } from "./module.ts";
import { messageOf } from "../text/message_of.ts";

/** The kernels and the addresses of the memory that an inline executor uses. */
export interface InlineLayout {
  readonly memory: WebAssembly.Memory;
  readonly kernels: KernelInstance;
  /** Kernel names by index, for error messages. */
  readonly names: readonly string[];
  /** The address of `MAX_ARGS` 32-bit words, which receive the arguments of a command. */
  readonly args: number;
  /** The address of the scratch memory, which has `kernels.scratchBytes` bytes. */
  readonly scratch: number;
}

/** Creates an executor that runs every command on the calling thread. */
export function createInlineExecutor(layout: InlineLayout): Executor {
  layout.kernels.setScratch(layout.scratch);
  return new InlineExecutor(layout);
}

class InlineExecutor implements Executor {
  readonly threads = 0;
  readonly #layout: InlineLayout;
  #queued = 0;
  #failure: DeviceLostError | undefined;

  constructor(layout: InlineLayout) {
    this.#layout = layout;
  }

  get queued(): number {
    return this.#queued;
  }

  get completed(): number {
    return this.#queued;
  }

  push(kernel: number, args: Uint32Array, words: number): void {
    if (this.#failure) return;
    const { memory, kernels, names, args: address } = this.#layout;
    new Uint32Array(memory.buffer, address, MAX_ARGS).set(args.subarray(0, words));
    try {
      const items = kernels.items[kernel](address), run = kernels.run[kernel];
      for (let item = 0; item < items; item++) run(address, item);
      this.#queued++;
    } catch (error) {
      const reason = messageOf(error);
      this.#failure = new DeviceLostError(`kernel ${names[kernel]}: ${reason}`);
    }
  }

  throwIfLost(): void {
    if (this.#failure) throw this.#failure;
  }

  finish(): Promise<void> {
    return this.#failure ? Promise.reject(this.#failure) : Promise.resolve();
  }

  dispose(): Promise<void> {
    this.#failure ??= new DeviceLostError("the cpu backend was disposed of");
    return Promise.resolve();
  }
}
