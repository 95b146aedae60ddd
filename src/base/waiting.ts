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
 * Yields the items of `items`. When the signal is aborted, the generator throws the signal's reason at once. It then
 * also calls `items.return()`, but neither waits for the step that `items` is executing nor reports its error.
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

/** Waits until `promise` settles, at most `milliseconds`. Returns whether it has settled. Its error is ignored. */
export async function settlesWithin(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<false>((resolve) => timer = setTimeout(() => resolve(false), milliseconds));
  try {
    return await Promise.race([promise.then(() => true, () => true), timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until all of `work` has ended, also if some of it fails. @throws the error of the first in order that has failed */
export async function allDone<T>(work: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(work);
  return await Promise.all(work);
}

const GROWTH = 1.5;

/** Yields pauses in milliseconds without end: first `firstMs`, then each 1.5 times as long, up to `longestMs`. */
export function* growingDelays(firstMs: number, longestMs: number): Generator<number, never, void> {
  for (let pauseMs = Math.min(firstMs, longestMs);; pauseMs = Math.min(GROWTH * pauseMs, longestMs)) {
    yield pauseMs;
  }
}

/** The time for which a loop may occupy the event loop, in milliseconds. */
const MAX_OCCUPIED_MS = 20;

/**
 * Returns a function that a long loop calls before each step. It waits for a timer if the loop has run for 20 ms, so that
 * the event loop can answer other requests meanwhile.
 */
export function pauses(): () => Promise<void> {
  let resumed = performance.now();
  return async () => {
    if (performance.now() - resumed < MAX_OCCUPIED_MS) return;
    await new Promise((resolve) => setTimeout(resolve, 0));
    resumed = performance.now();
  };
}
