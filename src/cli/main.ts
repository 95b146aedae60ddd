/**
 * `pare`: the command line. This file puts the commands together, turns Ctrl-C into an abort, and ends the process with the
 * exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted (143 by SIGTERM).
 */

import { Command } from "commander";
import { VERSION } from "../protocol/version.ts";
import { evalCommand } from "./eval.ts";
import { exitCode, failureLine, Interrupted } from "./exit.ts";
import { layerCommand } from "./layer.ts";
import { packCommand } from "./pack.ts";
import { pruneCommand } from "./prune.ts";
import { serveCommand } from "./serve.ts";
import { sweepCommand } from "./sweep.ts";
import { unpackCommand } from "./unpack.ts";

/** Runs the command line `args` and gives the exit code. Failures are told on standard error. */
async function run(args: readonly string[], signal: AbortSignal): Promise<number> {
  const program = new Command("pare")
    .description("one-shot pruning of large language models")
    .version(VERSION);
  for (
    const command of [
      serveCommand,
      pruneCommand,
      evalCommand,
      sweepCommand,
      layerCommand,
      packCommand,
      unpackCommand,
    ]
  ) {
    program.addCommand(command(signal));
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

/** Aborts at the first Ctrl-C or SIGTERM; a second one ends the process at once, as it does by default. */
function stopSignal(): AbortSignal {
  const controller = new AbortController();
  // Windows has no SIGTERM to listen for.
  for (const name of Deno.build.os === "windows" ? ["SIGINT"] as const : ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(name, function stop() {
      Deno.removeSignalListener(name, stop);
      controller.abort(new Interrupted(name));
    });
  }
  return controller.signal;
}

if (import.meta.main) Deno.exit(await run(Deno.args, stopSignal()));
