/**
 * The entry point of the command line `pare`. It assembles the commands, turns Ctrl-C into an abort signal, and ends the process
 * with the exit code: 0 for success, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C and 143 after SIGTERM.
 */

import { Command } from "commander";
import { VERSION } from "../protocol/version.ts";
import { evalCommand } from "./eval.ts";
import { exitCode, failureLine, Interrupted } from "./exit.ts";
import { layerCommand } from "./layer.ts";
import { packCommand } from "./pack.ts";
import { pruneCommand } from "./prune.ts";
import { reportCommand } from "./report.ts";
import { serveCommand } from "./serve.ts";
import { sweepCommand } from "./sweep.ts";
import { unpackCommand } from "./unpack.ts";

/** Runs the command line `args` and returns the exit code. Failures are reported on standard error. */
async function run(args: readonly string[], signal: AbortSignal): Promise<number> {
  const program = new Command("pare")
    .description("one-shot pruning of large language models")
    .version(VERSION);
  for (
    const createCommand of [
      serveCommand,
      pruneCommand,
      evalCommand,
      sweepCommand,
      layerCommand,
      packCommand,
      unpackCommand,
      reportCommand,
    ]
  ) {
    program.addCommand(createCommand(signal));
  }
  for (const command of [program, ...program.commands]) {
    command.exitOverride();
  }
  try {
    await program.parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    const line = failureLine(error);
    if (line !== undefined) console.error(line);
    if (args.includes("--debug") && error instanceof Error && line !== undefined) console.error(error);
    return exitCode(error);
  }
}

/**
 * Returns a signal that aborts at the first Ctrl-C or SIGTERM. The listener is then removed, so a second
 * Ctrl-C ends the process at once.
 */
function listenForStopSignals(): AbortSignal {
  const controller = new AbortController();
  // Windows has no SIGTERM.
  for (const name of Deno.build.os === "windows" ? ["SIGINT"] as const : ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(name, function stop() {
      Deno.removeSignalListener(name, stop);
      controller.abort(new Interrupted(name));
    });
  }
  return controller.signal;
}

if (import.meta.main) Deno.exit(await run(Deno.args, listenForStopSignals()));
