/**
 * `deno run -A scripts/paired.ts ARG…`: runs `deno ARG…` with the V8 flags under which the `cpu` backend
 * uses 256-bit instructions (`src/cpu/instruction_pairing.ts`), where this engine knows them, and plainly elsewhere. They count from a process's
 * start, so that it takes a process of its own; flags already in DENO_V8_FLAGS stay and win.
 */

import { PAIRING_FLAGS } from "../src/cpu/instruction_pairing.ts";

/** The environment for the program: nothing where its flags are set already or V8 does not know them. */
async function pairingEnvironment(): Promise<Record<string, string>> {
  if (Deno.build.arch !== "x86_64" || Deno.env.has("DENO_V8_FLAGS")) return {};
  const env = { DENO_V8_FLAGS: PAIRING_FLAGS.join(",") };
  // V8 ends a process that is started with a flag it does not know.
  const probe = await new Deno.Command(Deno.execPath(), { args: ["eval", ""], env, stderr: "null" }).output();
  return probe.success ? env : {};
}

const child = new Deno.Command(Deno.execPath(), {
  args: [...Deno.args],
  env: await pairingEnvironment(),
}).spawn();
// A terminal interrupts both processes by itself; anything else that signals this one means the program.
if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", () => child.kill("SIGTERM"));
Deno.addSignalListener("SIGINT", () => {
  if (!Deno.stdin.isTerminal()) child.kill("SIGINT");
});
const { code } = await child.status;
Deno.exit(code);
