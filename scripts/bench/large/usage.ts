/**
 * Measures the time of a piece of work in wall-clock seconds and in processor seconds. The operating system
 * counts processor seconds for this process and its worker threads. If other programs share the cores, the
 * processor seconds are the better measure.
 */

import process from "node:process";

/** The time that a piece of work took. */
export interface Usage {
  /** Wall-clock time. */
  readonly seconds: number;
  /** Processor time, summed over all cores. */
  readonly cpuSeconds: number;
}

/** Runs `work` and returns its result and the time it took. */
export async function measureUsage<T>(work: () => Promise<T>): Promise<[result: T, usage: Usage]> {
  const started = performance.now(), before = process.cpuUsage();
  const result = await work();
  const { user, system } = process.cpuUsage(before);
  return [result, { seconds: (performance.now() - started) / 1e3, cpuSeconds: (user + system) / 1e6 }];
}
