/** The options of `pare serve` for runs of whole models, and the processes in which the host runs them. */

import { statfs } from "node:fs/promises";
import { type Command, Option } from "commander";
import { messageOf } from "../../base/errors.ts";
import { ModelError } from "../../base/files/file_error.ts";
import type { StartCommand } from "../../host/runs/run_command.ts";
import { HUB_CACHE } from "../../host/runs/run_files.ts";
import type { MeasureHubModel } from "../../host/runs/find_model.ts";
import type { RunsOptions } from "../../host/runs/runs.ts";
import { HubUnreachable } from "../../model/hub/hub_access.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { LAUNCHER_VARIABLE, PROGRESS_VARIABLE } from "../environment.ts";
import { UsageError } from "../errors.ts";
import { RUNTIME_FORMATS } from "../export/formats.ts";
import { denoFileSystem as fs } from "../files/deno_file_system.ts";
import { requireFolder } from "../files/input_file.ts";
import { requireWritableFolder } from "../files/output_path.ts";
import { hubOptions, isOffline, readHubVariables } from "../files/use_hub.ts";
import { type BackendFlags, integer } from "../options/common_options.ts";
import { Output } from "../terminal/output.ts";

/** The options as commander parses them. */
export interface RunFlags extends BackendFlags {
  readonly runs?: string;
  readonly runsGib: number;
  readonly models?: string;
}

/** Declares the options. */
export function addRunsOptions(command: Command): Command {
  return command
    .option(
      "--runs <folder>",
      "accept runs of whole models at /v1/runs and on the page /runs, in this folder",
    )
    .addOption(
      new Option("--runs-gib <n>", "the most GiB that these runs take, with the models that they download")
        .argParser(integer(1)).default(64),
    )
    .option("--models <folder>", "folder of further models that runs may name; others come from the hub");
}

/** @throws {UsageError} naming the option that cannot be used */
export async function runsOptions(
  { runs: folder, runsGib, models, ...backend }: RunFlags,
): Promise<Omit<RunsOptions, "log"> | undefined> {
  if (folder === undefined) {
    if (models === undefined) return undefined;
    throw new UsageError("option --models: needs --runs");
  }
  await requireWritableFolder("--runs", folder);
  if (models !== undefined) await requireFolder("option --models", models);
  return {
    ...{ fs, folder, models, measureHubModel, formats: RUNTIME_FORMATS, budgetBytes: runsGib * 2 ** 30 },
    start: startWith(backendArguments(backend)),
    freeBytes: async () => {
      const { bavail, bsize } = await statfs(folder);
      return bavail * bsize;
    },
  };
}

/** Returns the options of the host's device for the commands that it starts. */
function backendArguments({ backend, webgpu, products, precision }: BackendFlags): string[] {
  const options = Object.entries({ backend, webgpu, products, precision });
  return options.filter(([, value]) => value !== undefined).map(([name, value]) => `--${name}=${value}`);
}

const measureHubModel: MeasureHubModel = async (name) => {
  const env = readHubVariables(), { signal } = new AbortController();
  const unsupported = (detail: string, cause?: unknown) =>
    new Refusal("unsupported", detail, { cause, members: { parameter: "model" } });
  if (isOffline(env)) throw unsupported(`model ${name}: HF_HUB_OFFLINE forbids this host to download models`);
  const { measureModel } = await import("../../model/hub/resolve_model.ts"); // only models of the hub need its client
  try {
    return await measureModel(`hf:${name}`, hubOptions(env, new Output(false), signal));
  } catch (cause) {
    if (cause instanceof ModelError) throw unsupported(messageOf(cause), cause);
    if (!(cause instanceof HubUnreachable)) throw cause;
    throw new Refusal("hub_unreachable", messageOf(cause), { cause, retryAfter: 60 });
  }
};

/** The time in which a stopped command may end in an orderly way, in milliseconds. */
const STOP_MILLISECONDS = 10_000;

/** The variables of a host that its commands do not need. */
const HOST_VARIABLES = ["EDGE_HOST_SECRET", "PARE_KEYS"];

/** Returns the function that starts this program again, with the options of the host's device. */
function startWith(backend: readonly string[]): StartCommand {
  return async (args, folder, onLine, signal) => {
    const inherited = Object.entries(Deno.env.toObject()).filter(([name]) => !HOST_VARIABLES.includes(name));
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-A", "--quiet", "--unstable-no-legacy-abort", "--no-check", Deno.mainModule],
        ...args,
        ...backend,
      ],
      cwd: folder,
      env: {
        ...Object.fromEntries(inherited),
        HF_HUB_CACHE: HUB_CACHE,
        [PROGRESS_VARIABLE]: "1",
        [LAUNCHER_VARIABLE]: String(Deno.pid), // the command ends when its launcher does, which is this host
      },
      clearEnv: true,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = () => {
      child.kill("SIGTERM");
      timer = setTimeout(() => child.kill("SIGKILL"), STOP_MILLISECONDS);
    };
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    try {
      const output = new Response(child.stdout).text(), lines = readLines(child.stderr, onLine);
      const { code } = await child.status;
      await lines;
      return { code, output: await output };
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
  };
}

async function readLines(stream: ReadableStream<Uint8Array<ArrayBuffer>>, onLine: (line: string) => void) {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) onLine(line);
  }
}
