/**
 * The most memory that a process of `pare` has had, as the kernel counts it: VmHWM, resident pages of every kind. Linux alone
 * tells it.
 */

import { fileURLToPath } from "node:url";
import { memoryBytes } from "./processes.ts";

const MAIN = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

/** Between two looks, in milliseconds: the mark only grows, so that the last look decides. */
const INTERVAL = 20;

/** How a process ended, and what it took. */
export interface Measured {
  readonly code: number;
  readonly stderr: string;
  readonly peakBytes: number;
}

/** Runs `pare ARGS` to its end. */
export async function measurePare(...args: readonly string[]): Promise<Measured> {
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
    INTERVAL,
  );
  try {
    const { code, stderr } = await child.output();
    return { code, stderr: new TextDecoder().decode(stderr), peakBytes };
  } finally {
    clearInterval(timer);
  }
}
