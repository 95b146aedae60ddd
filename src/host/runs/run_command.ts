/** Runs the command `pare prune` of one run as a child process, and reads its progress, its plan and its failure. */

import { sleep } from "../../base/waiting.ts";
import { type Run, runArguments } from "../../protocol/resources/runs.ts";
import type { RunFiles, RunRecord } from "./run_files.ts";

/** A command that has ended. */
export interface EndedCommand {
  readonly code: number;
  /** The standard output. */
  readonly output: string;
}

/**
 * Runs `pare ARGS` in a folder as a child process, which also ends when this process does.
 * @param onLine is called with each line of standard error
 * @param signal stops the command, which then ends in an orderly way
 */
export type StartCommand = (
  args: readonly string[],
  folder: string,
  onLine: (line: string) => void,
  signal: AbortSignal,
) => Promise<EndedCommand>;

/** A failure of the command, with its message for people. */
export class RunFailure extends Error {}

/** The exit code of a failure after which the same command may succeed. */
const TRY_AGAIN = 4;

/** The number of attempts after such failures, and the pause between them. A command of a killed host ends within this time. */
const ATTEMPTS = 4, PAUSE_MILLISECONDS = 5000;

/** Plans a run, unless it has a plan, and runs it until its result is complete. */
export async function runCommand(
  record: RunRecord,
  files: RunFiles,
  start: StartCommand,
  onChange: (change: Partial<Run>) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const options = [...await files.fileArguments(), ...runArguments(record.request)];
  const args = ["prune", record.model, "--json", ...options];
  const run = async (...more: string[]) => {
    for (let attempt = 1;; attempt++) {
      const onLine = (line: string) => {
        const progress = progressOf(line, more.length > 0 ? "planning" : undefined);
        if (progress) void onChange({ progress });
      };
      const { code, output } = await start([...args, ...more], files.folder, onLine, signal);
      signal.throwIfAborted();
      if (code === 0) return output;
      if (code !== TRY_AGAIN || attempt === ATTEMPTS) throw new RunFailure(failureOf(output, code));
      await sleep(PAUSE_MILLISECONDS, signal);
    }
  };
  if (!record.run.plan) await onChange({ plan: requireDisk(planOf(await run("--plan"))) });
  await run();
}

/** Reads a line of progress, such as `pruning 6/24 (about 12 s left) model.layers.0.fc2`. */
function progressOf(line: string, phase?: string): Run["progress"] | undefined {
  const [, name, done, total, left, detail] =
    /^(\w+) (\d+)\/(\d+)(?: \((about [^)]+ left)\))?(?: (.*))?$/.exec(line) ?? [];
  if (name === undefined) return undefined;
  const isDownload = name === "fetching";
  return {
    phase: isDownload ? name : phase ?? name,
    done: Number(done),
    total: Number(total),
    time_left: left ?? null,
    detail: detail ?? "",
  };
}

/** The members of the plan of `pare prune --plan --json` that this file reads. */
interface PrintedPlan {
  readonly layers: number;
  readonly device: string;
  readonly seconds: { readonly total: number };
  readonly memory: { readonly process: number; readonly device: number };
  readonly disk: { readonly output: number; readonly unfinished: number; readonly free: number };
}

function planOf(output: string): { readonly plan: NonNullable<Run["plan"]>; readonly freeBytes: number } {
  const { layers, device, seconds, memory, disk }: PrintedPlan = JSON.parse(output);
  const plan = {
    layers,
    device,
    seconds: seconds.total,
    memory_bytes: memory.process + (device.startsWith("cpu") ? 0 : memory.device),
    disk_bytes: disk.output + disk.unfinished,
  };
  return { plan, freeBytes: disk.free };
}

function requireDisk({ plan, freeBytes }: ReturnType<typeof planOf>): NonNullable<Run["plan"]> {
  if (plan.disk_bytes <= freeBytes) return plan;
  throw new RunFailure(`the run needs ${plan.disk_bytes} bytes on the disk, which has ${freeBytes} free`);
}

/** Returns the message of a failed command. */
function failureOf(output: string, code: number): string {
  try {
    return JSON.parse(output).error.message;
  } catch {
    return `the command ended with exit code ${code}; the log of the host has its last lines`;
  }
}
