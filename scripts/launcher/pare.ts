/**
 * Runs a command of this repository with the permissions that it needs:
 *
 *     deno run -A scripts/launcher/pare.ts COMMAND ARG…
 */

import process from "node:process";
import { fileURLToPath } from "node:url";
import { denoArguments, type Program } from "./deno_arguments.ts";
import { denoEnvironment } from "./deno_environment.ts";
import { launch } from "./launch.ts";

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));

const PROGRAM: Program = {
  main: path("src/cli/main.ts"),
  reads: ["build", "src", "shaders", "routes"].map(path),
  flags: ["--no-check", "--config", path("deno.json")],
};

const deno = Deno.execPath();
launch(deno, denoArguments(PROGRAM, process.argv.slice(2)), denoEnvironment(deno, Deno.version.deno));
