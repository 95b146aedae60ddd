/**
 * The executor with threads: starts the workers, hears their messages and settles the promises of those who wait. The
 * host never waits in place; how commands reach the workers is `command_queue.ts`, what they do with them `worker.ts`.
 */

import { DeviceLostError } from "../backend/backend.ts";
import { CommandQueue } from "./command_queue.ts";
import type { Executor } from "./executor.ts";
import type { KernelInstance } from "./module.ts";
import type { WorkerMessage, WorkerStart } from "./ring.ts";

/** Where the parts of a pool lie in the module's memory. */
export interface PoolLayout {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** The host's own instance, which counts items. */
  readonly kernels: KernelInstance;
  /** Kernel names by index, for error messages. */
  readonly names: readonly string[];
  /** Address of `RING_WORDS` words. */
  readonly ring: number;
  /** Address of each thread's scratch; as many as there are threads. */
  readonly scratches: readonly number[];
}

/** Starts the workers. @throws {Error} when one does not start */
export async function createThreadPool(layout: PoolLayout): Promise<Executor> {
  const pool = new ThreadPool(layout);
  try {
    await pool.started;
  } catch (error) {
    await pool.dispose();
    throw error;
  }
  return pool;
}

/** Someone who waits until the commands before `position` are done. */
interface Waiter {
  readonly position: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** A worker as the host sees it. */
interface Thread {
  readonly worker: Worker;
  readonly ready: PromiseWithResolvers<void>;
  readonly stopped: PromiseWithResolvers<void>;
  /** Fences it has passed. */
  fences: number;
}

class ThreadPool implements Executor {
  readonly #queue: CommandQueue;
  readonly #names: readonly string[];
  readonly #threads: readonly Thread[];
  #waiters: Waiter[] = [];
  #failure: DeviceLostError | undefined;
  /** A microtask that publishes is due. */
  #publishing = false;

  constructor(layout: PoolLayout) {
    const { module, memory, kernels, ring, scratches } = layout;
    this.#queue = new CommandQueue(memory, ring, kernels);
    this.#names = layout.names;
    this.#threads = scratches.map((scratch, i) => this.#start(i, { module, memory, ring, scratch }));
  }

  #start(index: number, start: WorkerStart): Thread {
    const thread: Thread = {
      worker: new Worker(new URL("./worker.ts", import.meta.url), {
        type: "module",
        name: `cpu backend ${index}`,
      }),
      ready: Promise.withResolvers(),
      stopped: Promise.withResolvers(),
      fences: 0,
    };
    thread.worker.onmessage = ({ data }: MessageEvent<WorkerMessage>) => this.#hear(thread, data);
    thread.worker.onerror = (event) => {
      event.preventDefault();
      this.#end(thread, event.message);
    };
    thread.worker.postMessage(start);
    return thread;
  }

  /** Resolves when every worker is ready. */
  get started(): Promise<unknown> {
    return Promise.all(this.#threads.map(({ ready }) => ready.promise));
  }

  get threads(): number {
    return this.#threads.length;
  }

  get queued(): number {
    return this.#queue.queued;
  }

  get completed(): number {
    return this.#queue.completed;
  }

  push(kernel: number, args: Uint32Array, words: number): void {
    this.#queue.push(kernel, args, words);
    if (this.#publishing) return;
    this.#publishing = true;
    // Whoever awaits something else after this, such as more of a body, must not keep the workers from what is queued.
    queueMicrotask(() => {
      this.#publishing = false;
      this.#queue.publish();
    });
  }

  throwIfLost(): void {
    if (this.#failure) throw this.#failure;
  }

  async finish(): Promise<void> {
    this.throwIfLost();
    const position = this.queued;
    if (this.completed === position) return;
    this.#queue.signal();
    await new Promise<void>((resolve, reject) => this.#waiters.push({ position, resolve, reject }));
  }

  async dispose(): Promise<void> {
    this.#lose(new DeviceLostError("the cpu backend was disposed of before its work was done"));
    await Promise.all(this.#threads.map(({ stopped }) => stopped.promise));
    for (const { worker } of this.#threads) worker.terminate();
  }

  #hear(thread: Thread, message: WorkerMessage): void {
    switch (message.kind) {
      case "ready":
        return thread.ready.resolve();
      case "unstarted":
        return this.#end(thread, message.reason);
      case "stopped":
        return thread.stopped.resolve();
      case "signal":
        return this.#settle();
      case "passed":
        thread.fences = message.fences;
        return this.#queue.release(Math.min(...this.#threads.map(({ fences }) => fences)));
      case "failed":
        return this.#lose(new DeviceLostError(`kernel ${this.#names[message.kernel]}: ${message.reason}`));
    }
  }

  /** A worker that ended by itself takes the backend with it. */
  #end(thread: Thread, reason: string): void {
    const error = new DeviceLostError(`a thread of the cpu backend failed: ${reason}`);
    thread.ready.reject(error);
    thread.stopped.resolve();
    this.#lose(error);
  }

  #settle(): void {
    const completed = this.completed;
    const waiting = this.#waiters;
    this.#waiters = waiting.filter(({ position }) => position > completed);
    for (const { position, resolve } of waiting) if (position <= completed) resolve();
  }

  /** Nothing more runs: fails those who wait, now and from now on. The first cause is kept. */
  #lose(error: DeviceLostError): void {
    this.#failure ??= error;
    this.#queue.stop();
    for (const { reject } of this.#waiters.splice(0)) reject(this.#failure);
  }
}
