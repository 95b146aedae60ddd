/**
 * The tasks of this process by their ids. A second request with the same id joins the running task. Finished tasks are remembered for a
 * while. A failed task is forgotten when its error has been reported, so that the next request starts it again. Nothing outlives the
 * process.
 */

import { Refusal } from "../../protocol/refusal.ts";
import type { TaskDone } from "./run_task.ts";

interface Entry {
  readonly outcome: Promise<TaskDone>;
  readonly abort: AbortController;
  settled: boolean;
}

/** The number of finished tasks that are remembered. Their answers take a few hundred bytes each. */
const MAX_DONE = 1024;

/** The number of running tasks. Most of them wait for the device or for their operands. */
const MAX_RUNNING = 64;

/** The tasks of one host. */
export class TaskBook {
  readonly #entries = new Map<string, Entry>();
  #closed = false;

  /**
   * Returns the result of task `id`, or undefined if it is still running after `waitMilliseconds`. If the id is new, `run` starts the task.
   * @throws {Refusal} busy, no_device
   * @throws what the task threw
   */
  async ask(
    id: string,
    run: (signal: AbortSignal) => Promise<TaskDone>,
    waitMilliseconds: number,
  ): Promise<TaskDone | undefined> {
    const { outcome } = this.#entries.get(id) ?? this.#start(id, run);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const soon = new Promise<undefined>((resolve) =>
      timer = setTimeout(() => resolve(undefined), waitMilliseconds)
    );
    try {
      return await Promise.race([outcome, soon]);
    } catch (error) {
      this.#entries.delete(id);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Refuses new tasks, and waits until the running ones have ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#entries.values()].map(({ outcome }) => outcome));
  }

  /** Aborts task `id`, if it exists. */
  cancel(id: string): void {
    this.#entries.get(id)?.abort.abort(new Refusal("not_found", `task ${id} was cancelled`));
  }

  #start(id: string, run: (signal: AbortSignal) => Promise<TaskDone>): Entry {
    if (this.#closed) throw new Refusal("no_device", "the host is shutting down");
    const all = [...this.#entries];
    if (all.filter(([, { settled }]) => !settled).length >= MAX_RUNNING) {
      throw new Refusal("busy", `${MAX_RUNNING} tasks are running already`, { retryAfter: 1 });
    }
    for (const [old] of all.filter(([, { settled }]) => settled).slice(0, -MAX_DONE)) {
      this.#entries.delete(old);
    }
    const abort = new AbortController();
    const outcome = run(abort.signal);
    const entry: Entry = { outcome, abort, settled: false };
    outcome.catch(() => {}).finally(() => entry.settled = true);
    this.#entries.set(id, entry);
    return entry;
  }
}
