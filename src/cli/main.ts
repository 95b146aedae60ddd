/**
 * The entry point of the command line `pare`. It assembles the commands, turns stop signals into an abort signal, and ends the process
 * with an exit code. `terminal/exit.ts` chooses the code for each error.
 */

import { Command, CommanderError } from "commander";
import { VERSION } from "../protocol/version.ts";
import { Interrupted, STOP_SIGNALS, type StopSignal, UsageError } from "./errors.ts";
import { LAUNCHER_VARIABLE } from "./environment.ts";
import { failureOf } from "./terminal/exit.ts";
import { addExample, finishHelp } from "./options/help.ts";
import { closedOutputProblem } from "./terminal/closed_output.ts";
import { printFailure } from "./terminal/print_failure.ts";
import { createQuantizeCommand } from "./quantize.ts";
import { createPruneCommand } from "./prune.ts";
import { createShrinkCommand } from "./shrink.ts";
import { createVerifyCommand } from "./verify.ts";
import { createEvalCommand } from "./eval.ts";
import { createSweepCommand } from "./sweep.ts";
import { createGenerateCommand } from "./generate.ts";
import { createLayerCommand } from "./layer.ts";
import { createUnpackCommand } from "./unpack.ts";
import { createExportCommand } from "./export.ts";
import { createPushCommand } from "./push.ts";
import { createReportCommand } from "./report.ts";
import { createJobsCommand } from "./jobs.ts";
import { createServeCommand } from "./serve.ts";

/** The commands, in the order of the help text. */
const COMMANDS = [
  createQuantizeCommand,
  createPruneCommand,
  createShrinkCommand,
  createVerifyCommand,
  createEvalCommand,
  createSweepCommand,
  createGenerateCommand,
  createLayerCommand,
  createUnpackCommand,
  createExportCommand,
  createPushCommand,
  createReportCommand,
  createJobsCommand,
  createServeCommand,
];

/** Returns the program with all commands. `signal` stops them. */
function createProgram(signal: AbortSignal): Command {
  const program = new Command("pare")
    .description("one-shot pruning of large language models")
    .version(VERSION);
  for (const createCommand of COMMANDS) program.addCommand(createCommand(signal));
  finishHelp(addExample(program, "quantize Qwen/Qwen3-0.6B"));
  return program;
}

/** Runs the command line `args` and returns the exit code. Failures are reported on standard error. */
export async function runCommandLine(args: readonly string[], signal: AbortSignal): Promise<number> {
  try {
    const problem = closedOutputProblem(args);
    if (problem !== undefined) throw new UsageError(problem);
    const program = createProgram(signal);
    await program.parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0; // help or version was printed
    const failure = failureOf(error);
    printFailure(error, failure, { json: args.includes("--json"), debug: args.includes("--debug") });
    return failure.exitCode;
  }
}

/**
 * The time in which further stop signals count as the same one, in milliseconds. A terminal sends Ctrl-C to the process and to its
 * launcher, which passes it on.
 */
const SAME_SIGNAL_MS = 300;

/**
 * Returns a signal that aborts at the first Ctrl-C or other stop signal. The listener is then removed, so another
 * Ctrl-C ends the process at once.
 */
function listenForStopSignals(): AbortSignal {
  const controller = new AbortController();
  const names = Object.keys(STOP_SIGNALS) as StopSignal[];
  for (const name of Deno.build.os === "windows" ? ["SIGINT"] as const : names) { // Windows has only SIGINT
    Deno.addSignalListener(name, function stop() {
      controller.abort(new Interrupted(name));
      const timer = setTimeout(() => Deno.removeSignalListener(name, stop), SAME_SIGNAL_MS);
      Deno.unrefTimer(timer);
    });
  }
  stopWithLauncher(() => controller.abort(new Interrupted("SIGTERM")));
  return controller.signal;
}

const LAUNCHER_CHECK_MS = 1000;

/**
 * Calls `stop` once when the launcher of this process has ended, if there is one. A killed launcher cannot signal the command, which would
 * then run on with nobody to stop it.
 */
function stopWithLauncher(stop: () => void): void {
  if (Deno.env.get(LAUNCHER_VARIABLE) !== String(Deno.ppid)) return;
  const launcher = Deno.ppid;
  const timer = setInterval(() => {
    if (Deno.ppid === launcher) return;
    clearInterval(timer);
    stop();
  }, LAUNCHER_CHECK_MS);
  Deno.unrefTimer(timer);
}

if (import.meta.main) Deno.exit(await runCommandLine(Deno.args, listenForStopSignals()));
