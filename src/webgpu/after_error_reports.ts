import { setImmediate } from "node:timers/promises";

/**
 * Resolves to `value` after the runtime has reported the errors of earlier work. It reports them at the start of the next
 * iteration of the event loop, so the first immediate ends the current iteration, and the second one the next.
 */
export async function afterErrorReports<T>(value: T): Promise<T> {
  await setImmediate();
  return await setImmediate(value);
}
