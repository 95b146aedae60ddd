/**
 * What went wrong on the device outside any call. WebGPU reports validation errors, failed allocations and
 * the loss of the device by events and promises, long after the call at fault returned; this file keeps them
 * until someone waits for the device (`read`, `finish`) and makes that wait fail. It never retries or hides one.
 */

import { DeviceLostError } from "../backend/backend.ts";

/** The faults of one device. */
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

  /** Makes every later and pending call fail: the owner is done with the device. */
  dispose(): void {
    this.#lose("disposed", "dispose() was called on its backend");
  }

  /** @throws {DeviceLostError} */
  assertAlive(): void {
    if (this.#lost) throw this.#lost;
  }

  /** Keeps `error` for the next wait. Errors that follow from a first one are dropped. */
  report(error: Error): void {
    this.#first ??= error;
  }

  /** Closes an error scope; `describe` turns what it caught, if anything, into the error to report. */
  closeScope(device: GPUDevice, describe: (error: GPUError) => Error): Promise<Error | undefined> {
    const scope = device.popErrorScope().then((caught) => caught ? describe(caught) : undefined);
    const reported = scope.then(
      // An error with a known cause is told in place of the uncaptured ones that follow from it.
      (error) => {
        if (error) this.#first = error;
      },
      () => {}, // the scopes of a lost device reject: the loss itself is what gets reported
    ).finally(() => this.#scopes.delete(reported));
    this.#scopes.add(reported);
    return scope;
  }

  /**
   * Waits for `work`, then for the error scopes closed so far.
   * @throws {DeviceLostError} at once when the device is lost meanwhile; the first error kept, which is then forgotten
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

  // Not Promise.race(work, lost): each race would leave a reaction on the one promise that lives as long as the device.
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
