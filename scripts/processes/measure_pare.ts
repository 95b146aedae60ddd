/**
 * Runs `pare` in a process of its own and measures its peak memory. The peak is VmHWM, the largest resident set that the
 * kernel has recorded. It is only available on Linux.
 */

import { fileURLToPath } from "node:url";
import { memoryBytes } from "./process_tree.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/** The time between two readings. VmHWM never decreases, so the last reading before the process ends is the result. */
const INTERVAL_MILLISECONDS = 20;

export interface MeasuredRun {
  readonly code: number;
  readonly stderr: string;
  /** Peak resident memory. 0 if it could not be read. */
  readonly peakBytes: number;
}

/** Runs `pare ARGS` and waits until it has ended. */
export async function measurePare(...args: readonly string[]): Promise<MeasuredRun> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", MAIN, ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let peakBytes = 0;
  const timer = setInterval(
    () => peakBytes = Math.max(peakBytes, memoryBytes(child.pid, "VmHWM") || 0),
    INTERVAL_MILLISECONDS,
  );
  try {
    const { code, stderr } = await child.output();
    return { code, stderr: new TextDecoder().decode(stderr), peakBytes };
  } finally {
    clearInterval(timer);
  }
}
