/** Functions that wait, and stop waiting as soon as an AbortSignal is aborted. */

/** Settles like `promise`, or rejects with the signal's reason as soon as the signal is aborted. */
export function abortable<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Resolves after `ms` milliseconds, or rejects with the signal's reason as soon as the signal is aborted. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  if (ms <= 0) return;
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    await abortable(new Promise<void>((resolve) => timer = setTimeout(resolve, ms)), signal);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Yields the items of `items`. When the signal is aborted, the generator throws the signal's reason at once.
 * It then also calls `items.return()`, but it does not wait for the step that `items` is executing, and it
 * ignores an error of that step.
 */
export async function* untilAborted<T>(
  items: AsyncGenerator<T, void, undefined>,
  signal?: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  let done = false;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const next = await abortable(items.next(), signal);
      done = next.done === true;
      if (next.done) return;
      yield next.value;
    }
  } finally {
    if (!done) {
      const stopped = items.return();
      if (signal?.aborted) stopped.catch(() => {});
      else await stopped;
    }
  }
}
