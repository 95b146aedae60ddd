/**
 * The tasks of one host process, by their ids. The edge repeats the request for a task in order to ask for the result,
 * so a request with the id of a known task joins that task. Finished tasks are remembered for a while. A failed task is
 * forgotten as soon as its error has been reported, so the next request with its id starts it again. Nothing is stored
 * beyond the end of the process.
 */

import { settlesWithin } from "../../base/waiting.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { shuttingDown } from "../device.ts";
import type { FinishedTask } from "../../protocol/resources/tasks.ts";

interface TaskEntry {
  readonly outcome: Promise<FinishedTask>;
  readonly abort: AbortController;
  hasEnded: boolean;
}

/** The number of finished tasks that are remembered. Their answers take a few hundred bytes each. */
const MAX_FINISHED_TASKS = 1024;

/** The largest number of running tasks. Most of them wait for the device or for their tensors. */
const MAX_RUNNING_TASKS = 64;

export class TaskRegistry {
  readonly #entries = new Map<string, TaskEntry>();
  #closed = false;

  /**
   * Waits for the result of task `id`. If no task has this id, the method starts one.
   * @param run runs the task until the signal is aborted
   * @returns the result, or undefined if the task is still running after `waitMilliseconds`
   * @throws {Refusal} `busy` if too many tasks are running
   * @throws {Refusal} `shutting_down` if the registry is closed
   * @throws what the task threw
   */
  async outcomeWithin(
    waitMilliseconds: number,
    id: string,
    run: (signal: AbortSignal) => Promise<FinishedTask>,
  ): Promise<FinishedTask | undefined> {
    const { outcome } = this.#entries.get(id) ?? this.#start(id, run);
    if (!await settlesWithin(outcome, waitMilliseconds)) return undefined;
    try {
      return await outcome;
    } catch (error) {
      this.#entries.delete(id);
      throw error;
    }
  }

  /** Refuses new tasks, and waits until the running ones have ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#entries.values()].map(({ outcome }) => outcome));
  }

  abort(): void {
    for (const { abort } of this.#entries.values()) abort.abort(shuttingDown());
  }

  /** Aborts task `id`, if it exists. */
  cancel(id: string): void {
    this.#entries.get(id)?.abort.abort(new Refusal("not_found", `task ${id} was cancelled`));
  }

  #start(id: string, run: (signal: AbortSignal) => Promise<FinishedTask>): TaskEntry {
    if (this.#closed) throw shuttingDown();
    const all = [...this.#entries];
    if (all.filter(([, { hasEnded }]) => !hasEnded).length >= MAX_RUNNING_TASKS) {
      throw new Refusal("busy", `${MAX_RUNNING_TASKS} tasks are running already`, { retryAfter: 1 });
    }
    for (const [oldId] of all.filter(([, { hasEnded }]) => hasEnded).slice(0, -MAX_FINISHED_TASKS)) {
      this.#entries.delete(oldId);
    }
    const abort = new AbortController();
    const outcome = run(abort.signal);
    const entry: TaskEntry = { outcome, abort, hasEnded: false };
    outcome.catch(() => {}).finally(() => entry.hasEnded = true);
    this.#entries.set(id, entry);
    return entry;
  }
}
