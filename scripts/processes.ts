/**
 * What the kernel tells of processes, under /proc: who started whom, and the memory each has. Linux alone tells it; elsewhere there
 * are no descendants and memory is NaN.
 */

/** A process. */
export interface Process {
  readonly pid: number;
  /** The program's name, at most 15 characters of it. */
  readonly name: string;
}

/** Everything that `pid` started, and what those started in turn, nearest first. */
export function descendants(pid: number): Process[] {
  const children = new Map<number, Process[]>();
  for (const { parent, ...process } of running()) {
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

/** Memory in bytes: `VmRSS` as it is now, `VmHWM` the most that it ever was. NaN when the process has ended. */
export function memoryBytes(pid: number, mark: "VmRSS" | "VmHWM"): number {
  const [, kilobytes] = new RegExp(`^${mark}:\\s+(\\d+) kB$`, "m").exec(read(`/proc/${pid}/status`)) ?? [];
  return 1024 * Number(kilobytes ?? NaN);
}

function* running(): Generator<Process & { readonly parent: number }> {
  let folders: Deno.DirEntry[] = [];
  try {
    folders = [...Deno.readDirSync("/proc")];
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  for (const folder of folders) {
    // pid (name) state parent …: the name may hold anything, brackets too.
    const [, name, parent] = /^\d+ \((.*)\) \S (\d+) /s.exec(read(`/proc/${folder.name}/stat`)) ?? [];
    if (parent) yield { pid: Number(folder.name), name, parent: Number(parent) };
  }
}

/** A file of /proc; empty when there is none, or its process has just ended. */
function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}
