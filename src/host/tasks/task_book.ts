/**
 * The tasks of this process by their ids, so that asking again joins what is under way. A done task is remembered for a
 * while; a failed one until it is told, since asking again is then a new try. Nothing outlives the process.
 */

import { Refusal } from "../../protocol/refusal.ts";
import type { TaskDone } from "./run_task.ts";

interface Entry {
  readonly outcome: Promise<TaskDone>;
  readonly abort: AbortController;
  settled: boolean;
}

/** Done tasks remembered, the oldest forgotten first: their answers are a few hundred bytes. */
const MAX_DONE = 1024;

/** Tasks under way: each waits for the device or has its operands coming in. */
const MAX_RUNNING = 64;

/** The tasks of one host. */
export class TaskBook {
  readonly #entries = new Map<string, Entry>();
  #closed = false;

  /**
   * What becomes of task `id` within `waitMilliseconds`; undefined while it runs. `run` starts it where it is not known.
   * @throws {Refusal} busy, no_device; what the task threw
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

  /** Takes no more tasks, and waits until those under way have ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#entries.values()].map(({ outcome }) => outcome));
  }

  /** Ends task `id`, whether or not it is there. */
  cancel(id: string): void {
    this.#entries.get(id)?.abort.abort(new Refusal("not_found", `task ${id} was cancelled`));
  }

  #start(id: string, run: (signal: AbortSignal) => Promise<TaskDone>): Entry {
    if (this.#closed) throw new Refusal("no_device", "the host is shutting down");
    const all = [...this.#entries];
    if (all.filter(([, { settled }]) => !settled).length >= MAX_RUNNING) {
      throw new Refusal("busy", `${MAX_RUNNING} tasks are under way already`, { retryAfter: 1 });
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
