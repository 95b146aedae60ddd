/**
 * Collects the errors that a device reports outside any call. WebGPU reports validation errors, failed allocations and the loss of the
 * device by events and promises, long after the call that caused them has returned. This file stores them and makes the next wait for
 * the device (`read` or `finish`) fail with them. It never retries and never hides an error.
 */

import { DeviceLostError } from "../backend/backend.ts";

/** The reported errors of one device. */
export class DeviceFaults {
  #lost: DeviceLostError | undefined;
  #first: Error | undefined;
  readonly #scopes = new Set<Promise<unknown>>();
  readonly #waiting = new Set<(reason: DeviceLostError) => void>();

  constructor(device: GPUDevice) {
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.report(new Error(`WebGPU: ${(event as GPUUncapturedErrorEvent).error.message}`));
    });
    device.lost.then(({ reason, message }) => this.#lose(reason ?? "unknown", message));
  }

  #lose(reason: string, message: string): void {
    this.#lost ??= new DeviceLostError(`the GPU device was lost (${reason}): ${message}`);
    for (const reject of this.#waiting) reject(this.#lost);
    this.#waiting.clear();
  }

  /** Makes every pending and later call fail, because the owner has disposed of the device. */
  dispose(): void {
    this.#lose("disposed", "dispose() was called on its backend");
  }

  /** @throws {DeviceLostError} if the device is lost or disposed of */
  assertAlive(): void {
    if (this.#lost) throw this.#lost;
  }

  /** Stores `error` for the next wait. Later errors are dropped, because they usually follow from the first one. */
  report(error: Error): void {
    this.#first ??= error;
  }

  /** Closes an error scope. If it caught an error, `describe` turns that error into the one to report. */
  closeScope(device: GPUDevice, describe: (error: GPUError) => Error): Promise<Error | undefined> {
    const scope = device.popErrorScope().then((caught) => caught ? describe(caught) : undefined);
    const reported = scope.then(
      // An error with a known cause replaces the uncaptured errors that follow from it.
      (error) => {
        if (error) this.#first = error;
      },
      () => {}, // the scopes of a lost device reject; the loss itself is reported instead
    ).finally(() => this.#scopes.delete(reported));
    this.#scopes.add(reported);
    return scope;
  }

  /**
   * Waits for `work`, then for the error scopes closed so far.
   * @throws {DeviceLostError} as soon as the device is lost
   * @throws {Error} the stored error, which is then removed
   */
  async settle<T>(work: Promise<T>): Promise<T> {
    const [outcome] = await Promise.allSettled([
      this.#unlessLost(work.finally(() => Promise.all(this.#scopes))),
    ]);
    const earlier = this.#first;
    this.#first = undefined;
    if (this.#lost) throw this.#lost;
    if (earlier) throw earlier;
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  }

  // Promise.race(work, lost) would leak: each race adds a reaction to `lost`, which lives as long as the device.
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
