/**
 * Runs a command of this repository with the V8 flags that it needs:
 *
 *     deno run -A scripts/launcher/pare.ts COMMAND ARG…
 */

import process from "node:process";
import { fileURLToPath } from "node:url";
import { PROGRAM_VARIABLE } from "../../src/cli/environment.ts";
import { denoEnvironment } from "./deno_environment.ts";
import { launch, RUN } from "./launch.ts";

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));

const program = ["--no-check", "--config", path("deno.json"), path("src/cli/main.ts")];
const deno = Deno.execPath();
const env = { ...denoEnvironment(deno, Deno.version.deno), [PROGRAM_VARIABLE]: "deno task pare" };
launch(deno, [...RUN, ...program, ...process.argv.slice(2)], env);
