/**
 * Runs a program, and measures its time and its peak memory. The memory includes all processes that the
 * program starts. It is read from /proc, so it is only available on Linux.
 */

import { cpuSeconds, descendants, memoryBytes } from "./process_tree.ts";

/** The time between two readings of the memory. A reading costs about 2 ms of processor time. */
const INTERVAL_MILLISECONDS = 50;

export interface Program {
  readonly command: string;
  readonly args: readonly string[];
  /** All environment variables of the program. It inherits no others. */
  readonly env: Readonly<Record<string, string>>;
}

export interface MeasuredProcess {
  readonly stdout: string;
  /** Wall-clock seconds from the start of the program to its end. */
  readonly seconds: number;
  /**
   * The peak of the resident memory of all processes together, in bytes. The sum is read at intervals, so a
   * short peak can be missed. If the kernel recorded a larger peak for a single process, that peak is
   * returned. 0 if no memory could be read.
   */
  readonly peakBytes: number;
  /** The processor time of the program without other processes, at the last reading. 0 if it could not be read. */
  readonly cpuSeconds: number;
}

/**
 * Runs a program and waits until it has ended.
 * @throws {Error} if the program exits with another code than 0. The message contains the end of its standard
 * error
 */
export async function measureProcess({ command, args, env }: Program): Promise<MeasuredProcess> {
  const started = performance.now();
  const child = new Deno.Command(command, {
    args: [...args],
    clearEnv: true,
    env: { ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let peakBytes = 0, cpu = 0;
  const timer = setInterval(() => {
    const pids = [child.pid, ...descendants(child.pid).map(({ pid }) => pid)];
    const sum = pids.reduce((total, pid) => total + (memoryBytes(pid, "VmRSS") || 0), 0);
    cpu = cpuSeconds(child.pid) || cpu;
    peakBytes = Math.max(peakBytes, sum, ...pids.map((pid) => memoryBytes(pid, "VmHWM") || 0));
  }, INTERVAL_MILLISECONDS);
  try {
    const { code, stdout, stderr } = await child.output();
    const seconds = (performance.now() - started) / 1000;
    const [out, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    if (code === 0) return { stdout: out, seconds, peakBytes, cpuSeconds: cpu };
    throw new Error(`${[command, ...args].join(" ")}: ended with code ${code}\n${errors.slice(-2000)}`);
  } finally {
    clearInterval(timer);
  }
}
