/**
 * The interface between the `cpu` backend and the code that runs its commands. A command is the index of a kernel and
 * its arguments. There are two executors: a pool of worker threads (`thread_pool.ts`) and the calling thread itself
 * (`InlineExecutor`).
 */

import { DeviceLostError } from "../backend.ts";
import { MAX_ARGS } from "./command_ring.ts";
import type { KernelInstance } from "./module.ts";
import { messageOf } from "../../base/errors.ts";

/** A queue of commands, which run one after the other. */
export interface Executor {
  /** The number of worker threads. 0 if commands run on the calling thread. */
  readonly threads: number;
  /** The number of commands queued so far, which is also the position of the next command. */
  readonly queued: number;
  /** All commands before this position are done, and the calling thread can read their results. */
  readonly completed: number;

  /** Queues kernel `kernel` with the first `words` words of `args`. The caller may reuse `args` immediately. */
  push(kernel: number, args: Uint32Array, words: number): void;

  /** @throws {DeviceLostError} if a command failed or the executor was disposed of */
  throwIfLost(): void;

  /**
   * Resolves when all commands queued so far are done.
   * @throws {DeviceLostError} if a command failed, now or earlier, or the executor was disposed of
   */
  finish(): Promise<void>;

  /** Ends each thread after its current work item. Pending calls of {@link finish} reject. */
  dispose(): Promise<void>;
}

/** The kernels and the addresses of the memory that an inline executor uses. */
interface InlineLayout {
  readonly memory: WebAssembly.Memory;
  readonly kernels: KernelInstance;
  /** Kernel names by index, for error messages. */
  readonly names: readonly string[];
  /** The address of `MAX_ARGS` 32-bit words, which receive the arguments of a command. */
  readonly args: number;
  /** The address of the scratch memory, which has `kernels.scratchBytes` bytes. */
  readonly scratch: number;
}

/** Runs every command on the calling thread. */
export class InlineExecutor implements Executor {
  readonly threads = 0;
  #queued = 0;
  #failure: DeviceLostError | undefined;

  constructor(private readonly layout: InlineLayout) {
    layout.kernels.setScratch(layout.scratch);
  }

  get queued(): number {
    return this.#queued;
  }

  get completed(): number {
    return this.#queued;
  }

  push(kernel: number, args: Uint32Array, words: number): void {
    if (this.#failure) return;
    const { memory, kernels, names, args: address } = this.layout;
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
