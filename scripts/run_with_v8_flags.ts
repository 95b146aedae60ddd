/**
 * Runs `deno ARG…` with the V8 flags that make the `cpu` backend fast on x86-64:
 *
 *     deno run -A scripts/run_with_v8_flags.ts ARG…
 *
 * With these flags V8 combines pairs of 128-bit WebAssembly instructions into 256-bit ones
 * (`src/cpu/instruction_pairing.ts`). On other processors, and if this version of V8 does not have the flags, `deno ARG…`
 * runs without them. V8 reads its flags when a process starts, so the program runs in a child process. If DENO_V8_FLAGS is
 * already set, it is used unchanged.
 */

import { PAIRING_FLAGS } from "../src/cpu/instruction_pairing.ts";

/** Returns the environment that sets the flags, or an empty one if they are set already or V8 does not know them. */
async function flagEnvironment(): Promise<Record<string, string>> {
  if (Deno.build.arch !== "x86_64" || Deno.env.has("DENO_V8_FLAGS")) return {};
  const env = { DENO_V8_FLAGS: PAIRING_FLAGS.join(",") };
  // A process that is started with an unknown flag ends with an error, so the flags are tried on an empty program first.
  const probe = await new Deno.Command(Deno.execPath(), { args: ["eval", ""], env, stderr: "null" }).output();
  return probe.success ? env : {};
}

const child = new Deno.Command(Deno.execPath(), {
  args: [...Deno.args],
  env: await flagEnvironment(),
}).spawn();
// Signals are passed on to the child. A terminal itself sends an interrupt (Ctrl-C) to both processes.
for (const signal of Deno.build.os === "windows" ? [] : ["SIGTERM", "SIGUSR1", "SIGUSR2"] as const) {
  Deno.addSignalListener(signal, () => child.kill(signal));
}
Deno.addSignalListener("SIGINT", () => {
  if (!Deno.stdin.isTerminal()) child.kill("SIGINT");
});
const { code } = await child.status;
Deno.exit(code);
