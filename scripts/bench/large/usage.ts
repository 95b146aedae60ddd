/** What a piece of work took of this machine, by the operating system's count for this process, its worker threads included. */

import process from "node:process";

/** Where other programs share the cores, `cpuSeconds` says what `seconds` cannot. */
export interface Usage {
  /** On the clock. */
  readonly seconds: number;
  /** Of all cores together. */
  readonly cpuSeconds: number;
}

/** Runs `work` and tells what it took. */
export async function measureUsage<T>(work: () => Promise<T>): Promise<[result: T, usage: Usage]> {
  const started = performance.now(), before = process.cpuUsage();
  const result = await work();
  const { user, system } = process.cpuUsage(before);
  return [result, { seconds: (performance.now() - started) / 1e3, cpuSeconds: (user + system) / 1e6 }];
}
