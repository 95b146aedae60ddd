/**
 * Collects the errors that WebGPU reports outside of calls. Validation errors, failed allocations and the loss of the
 * device arrive through events and promises, long after the call that caused them has returned. `DeviceFaults` stores
 * the first one until a caller waits for the device (`read`, `finish`), and makes that wait fail. Nothing is retried.
 */

import { DeviceLostError } from "../backend.ts";
import { setImmediate } from "node:timers/promises";

export class DeviceFaults {
  #lost: DeviceLostError | undefined;
  #firstError: Error | undefined;
  /** The results of closed error scopes that WebGPU has not reported yet. */
  readonly #scopes = new Set<Promise<unknown>>();
  /** The reject functions of the waits in progress. */
  readonly #waiting = new Set<(reason: DeviceLostError) => void>();

  constructor(device: GPUDevice) {
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#store(new Error(`WebGPU: ${(event as GPUUncapturedErrorEvent).error.message}`));
    });
    device.lost.then(({ reason, message }) => this.#lose(reason ?? "unknown", message));
  }

  #lose(reason: string, message: string): void {
    this.#lost ??= new DeviceLostError(`the GPU device was lost (${reason}): ${message}`);
    for (const reject of this.#waiting) reject(this.#lost);
    this.#waiting.clear();
  }

  dispose(): void {
    this.#lose("disposed", "the backend was disposed of");
  }

  assertAlive(): void {
    if (this.#lost) throw this.#lost;
  }

  /** Stores `error` for the next wait. An error after a stored one is likely its consequence, and is dropped. */
  #store(error: Error): void {
    this.#firstError ??= error;
  }

  /**
   * Closes the innermost error scope of `device`. If the scope caught an error, the next wait throws the error that
   * `describe` makes of it.
   * @returns the described error, or undefined if the scope caught none. The promise rejects if the device is lost.
   */
  closeScope(device: GPUDevice, describe: (error: GPUError) => Error): Promise<Error | undefined> {
    const scope = device.popErrorScope().then((caught) => caught ? describe(caught) : undefined);
    const reported = scope.then(
      // The error of a scope replaces a stored uncaptured error, which is a consequence of it and less specific.
      (error) => {
        if (error) this.#firstError = error;
      },
      () => {}, // The scopes of a lost device reject. The loss itself is reported elsewhere.
    ).finally(() => this.#scopes.delete(reported));
    this.#scopes.add(reported);
    return scope;
  }

  /**
   * Waits for `work` and for the error scopes closed so far, and returns the result of `work`.
   * @throws {DeviceLostError} as soon as the device is lost
   * @throws {Error} the stored error, which is then removed, or else the error of `work`
   */
  async settle<T>(work: Promise<T>): Promise<T> {
    const [outcome] = await Promise.allSettled([
      this.#unlessLost(work.finally(() => Promise.all(this.#scopes))),
    ]);
    // The runtime may report the loss of the device only after the failure that it causes.
    if (outcome.status === "rejected" && !this.#lost) await afterErrorReports(undefined);
    const earlier = this.#firstError;
    this.#firstError = undefined;
    if (this.#lost) throw this.#lost;
    if (earlier) throw earlier;
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  }

  /**
   * Settles like `work`, or rejects as soon as the device is lost. `Promise.race([work, device.lost])` would leak
   * memory, because each race adds a reaction to `device.lost`.
   */
  #unlessLost<T>(work: Promise<T>): Promise<T> {
    if (this.#lost) {
      work.catch(() => {});
      return Promise.reject(this.#lost);
    }
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      work.then(resolve, reject).finally(() => this.#waiting.delete(reject));
    });
  }
}

/**
 * Resolves to `value` after the runtime has reported the errors of earlier work. The runtime reports them at the start
 * of the next iteration of the event loop. The first immediate ends the current iteration, and the second one the next.
 */
export async function afterErrorReports<T>(value: T): Promise<T> {
  await setImmediate();
  return await setImmediate(value);
}
