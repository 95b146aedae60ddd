/** Waiting that an AbortSignal ends. */

/** Settles as `promise` does, or rejects with the signal's reason as soon as it is aborted. */
export function abortable<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Resolves after `ms` milliseconds, or rejects with the signal's reason. */
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
 * The items of `items`, until the signal is aborted: then it rejects with the signal's reason at once. The generator is
 * told to stop, but whatever step it is in ends in its own time and unheard.
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
