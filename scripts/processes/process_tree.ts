/**
 * Reads from /proc which processes a process has started, and how much memory a process uses. /proc exists on Linux only. On
 * other systems no descendants are found, and the memory is NaN.
 */

export interface Process {
  readonly pid: number;
  /** The first 15 characters of the program's name. */
  readonly name: string;
}

/** Lists all child processes of `pid`, then their children, and so on. */
export function descendants(pid: number): Process[] {
  const children = new Map<number, Process[]>();
  for (const { parent, ...process } of runningProcesses()) {
    children.set(parent, [...children.get(parent) ?? [], process]);
  }
  const found: Process[] = [];
  for (let level = [pid]; level.length > 0;) {
    const next = level.flatMap((parent) => children.get(parent) ?? []);
    found.push(...next);
    level = next.map((process) => process.pid);
  }
  return found;
}

/**
 * Returns the resident memory of a process in bytes. `VmRSS` is the current value, and `VmHWM` is the peak.
 * The result is NaN if the process has ended.
 */
export function memoryBytes(pid: number, field: "VmRSS" | "VmHWM"): number {
  const [, kilobytes] =
    new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(readProcFile(`/proc/${pid}/status`)) ?? [];
  return 1024 * Number(kilobytes ?? NaN);
}

/** The clock ticks per second in which Linux counts processor time. */
const TICKS_PER_SECOND = 100;

/** Returns the processor time of a process with all its threads, in seconds. NaN if the process has ended. */
export function cpuSeconds(pid: number): number {
  // The name ends with the last parenthesis. User and system time are the 12th and 13th number after it.
  const fields = /\) (.*)$/s.exec(readProcFile(`/proc/${pid}/stat`))?.[1].split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function* runningProcesses(): Generator<Process & { readonly parent: number }> {
  let folders: Deno.DirEntry[] = [];
  try {
    folders = [...Deno.readDirSync("/proc")];
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  for (const folder of folders) {
    // The line is "pid (name) state parent …". The name may contain any character, including parentheses.
    const [, name, parent] = /^\d+ \((.*)\) \S (\d+) /s.exec(readProcFile(`/proc/${folder.name}/stat`)) ?? [];
    if (parent) yield { pid: Number(folder.name), name, parent: Number(parent) };
  }
}

/** Reads a file of /proc. Returns an empty text if the file does not exist or its process has just ended. */
function readProcFile(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}
