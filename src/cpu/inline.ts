/** The executor without threads: a command runs on the calling thread as it is queued. For hosts that have no workers. */

import { DeviceLostError } from "../backend/backend.ts";
import type { Executor } from "./executor.ts";
import type { KernelInstance } from "./module.ts";
import { MAX_ARGS } from "./ring.ts";
import { messageOf } from "../text/message_of.ts";

/** Where the parts of an inline executor lie in the module's memory. */
export interface InlineLayout {
  readonly memory: WebAssembly.Memory;
  readonly kernels: KernelInstance;
  readonly names: readonly string[];
  /** Address of `MAX_ARGS` words. */
  readonly args: number;
  readonly scratch: number;
}

/** Makes an executor that runs everything on the calling thread. */
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
