/** Runs `pare` in a process of its own, and measures its time and its memory. */

import { fileURLToPath } from "node:url";
import { peerEnvironment } from "../bench/torch/peer_environment.ts";
import { type MeasuredProcess, measureProcess } from "./measure_process.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/** Runs `pare ARGS` without the variables that change its defaults or slow down the libraries. */
export function pareProcess(args: readonly string[]): Promise<MeasuredProcess> {
  return measureProcess({
    command: Deno.execPath(),
    args: ["run", "-A", "--quiet", "--no-check", MAIN, ...args],
    env: peerEnvironment({ NO_COLOR: "1" }, withoutPareVariables(Deno.env.toObject())),
  });
}

/** Removes the variables that change defaults of `pare`, so that a run without options uses what a user gets. */
function withoutPareVariables(variables: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(variables).filter(([name]) => !name.startsWith("PARE_")));
}
