/**
 * The executor with worker threads: starts the workers, receives their messages, and settles the promises of `finish`.
 * `command_queue.ts` passes commands to the workers and `worker.ts` runs them. The calling thread never blocks.
 */

import { DeviceLostError } from "../backend.ts";
import { CommandQueue } from "./command_queue.ts";
import type { Executor } from "./executor.ts";
import type { KernelInstance } from "./module.ts";
import type { WorkerMessage, WorkerStart } from "./command_ring.ts";
import type { ProductLibrary } from "./products/product_library.ts";

/** The kernels and the addresses of the memory that a thread pool uses. */
interface PoolLayout {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** The calling thread's instance of the module, which counts the work items of each command. */
  readonly kernels: KernelInstance;
  /** Kernel names by index, for error messages. */
  readonly names: readonly string[];
  /** The address of the command ring, which has `RING_CELLS` 32-bit cells. */
  readonly ring: number;
  /** The addresses of the threads' scratch memories, one per thread. */
  readonly scratches: readonly number[];
  /** The library for products, if one is used. */
  readonly library?: ProductLibrary;
}

/** Starts one worker per scratch and waits until all are ready. @throws {DeviceLostError} if a worker does not start */
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

/** A pending call of `finish`, which resolves when the first `position` queued commands are done. */
interface Waiter {
  readonly position: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly ready: PromiseWithResolvers<void>;
  readonly stopped: PromiseWithResolvers<void>;
  /** The number of fences (`command_queue.ts`) that the worker has passed. */
  fences: number;
}

class ThreadPool implements Executor {
  readonly #queue: CommandQueue;
  readonly #names: readonly string[];
  readonly #threads: readonly Thread[];
  #waiters: Waiter[] = [];
  #failure: DeviceLostError | undefined;
  /** Whether a microtask will publish the queued commands. */
  #publishScheduled = false;
  /** Whether a caller waits for the queued commands, and no signal has been queued for it. */
  #signalWanted = false;

  constructor(layout: PoolLayout) {
    const { module, memory, kernels, ring, scratches } = layout;
    this.#queue = new CommandQueue(memory, ring, kernels);
    this.#names = layout.names;
    const library = layout.library && { path: layout.library.path, precision: layout.library.precision };
    const shared = { module, memory, ring, library, threads: scratches.length };
    this.#threads = scratches.map((scratch, i) => this.#start(i, { ...shared, scratch }));
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
    thread.worker.onmessage = ({ data }: MessageEvent<WorkerMessage>) => this.#receive(thread, data);
    thread.worker.onerror = (event) => {
      event.preventDefault();
      this.#failThread(thread, event.message);
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
    this.#schedulePublish();
  }

  /**
   * Publishes an incomplete batch as soon as the caller awaits anything, so that the workers are not idle meanwhile. All
   * calls of `finish` until then share one signal.
   */
  #schedulePublish(): void {
    if (this.#publishScheduled) return;
    this.#publishScheduled = true;
    queueMicrotask(() => {
      this.#publishScheduled = false;
      if (this.#signalWanted) this.#queue.signal();
      else this.#queue.publish();
      this.#signalWanted = false;
    });
  }

  throwIfLost(): void {
    if (this.#failure) throw this.#failure;
  }

  async finish(): Promise<void> {
    this.throwIfLost();
    const position = this.queued;
    if (this.completed === position) return;
    this.#signalWanted = true;
    this.#schedulePublish();
    await new Promise<void>((resolve, reject) => this.#waiters.push({ position, resolve, reject }));
  }

  async dispose(): Promise<void> {
    this.#fail(new DeviceLostError("the cpu backend was disposed of before its queued commands were done"));
    await Promise.all(this.#threads.map(({ stopped }) => stopped.promise));
    for (const { worker } of this.#threads) worker.terminate();
  }

  #receive(thread: Thread, message: WorkerMessage): void {
    switch (message.kind) {
      case "ready":
        return thread.ready.resolve();
      case "not started":
        return this.#failThread(thread, message.reason);
      case "stopped":
        return thread.stopped.resolve();
      case "signal":
        return this.#resolveWaiters();
      case "fence":
        thread.fences = message.fences;
        return this.#queue.release(Math.min(...this.#threads.map(({ fences }) => fences)));
      case "failed":
        return this.#fail(new DeviceLostError(`kernel ${this.#names[message.kernel]}: ${message.reason}`));
    }
  }

  /** Fails the pool because a worker did not start or ended by itself. */
  #failThread(thread: Thread, reason: string): void {
    const error = new DeviceLostError(`a thread of the cpu backend failed: ${reason}`);
    thread.ready.reject(error);
    thread.stopped.resolve();
    this.#fail(error);
  }

  #resolveWaiters(): void {
    const completed = this.completed;
    const waiters = this.#waiters;
    this.#waiters = waiters.filter(({ position }) => position > completed);
    for (const { position, resolve } of waiters) if (position <= completed) resolve();
  }

  /** Stops the workers, and rejects all waiters and all later calls with the first `error`. */
  #fail(error: DeviceLostError): void {
    this.#failure ??= error;
    this.#queue.stop();
    for (const { reject } of this.#waiters.splice(0)) reject(this.#failure);
  }
}
