/**
 * Runs `deno ARG…` with the V8 flags of Pare's commands (`launcher/deno_environment.ts`):
 *
 *     deno run -A scripts/run_with_v8_flags.ts ARG…
 *
 * The flags make the `cpu` backend fast on x86-64 and save memory. If this version of V8 does not have them, `deno ARG…` runs
 * without flags. V8 reads its flags when a process starts, so the program runs in a child process. If DENO_V8_FLAGS is already
 * set, it is used unchanged.
 */

import { denoEnvironment } from "./launcher/deno_environment.ts";
import { launch } from "./launcher/launch.ts";

const deno = Deno.execPath();
launch(deno, Deno.args, denoEnvironment(deno, Deno.version.deno));
