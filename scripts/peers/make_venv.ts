/**
 * Makes the virtual environment of the peers, or completes it. PARE_PYTHON names the Python that it is made with; the default is
 * `python3`.
 */

import { PEERS_PYTHON, PEERS_REQUIREMENTS, PEERS_VENV } from "./venv.ts";

await run(Deno.env.get("PARE_PYTHON") ?? "python3", "-m", "venv", PEERS_VENV);
await run(PEERS_PYTHON, "-m", "pip", "install", "--quiet", "--requirement", PEERS_REQUIREMENTS);
await run(PEERS_PYTHON, "-m", "pip", "list");
console.log(`the peers are in ${PEERS_VENV}`);

/** Runs a program and waits for its end. Ends this process with the same code if the program fails. */
async function run(program: string, ...args: string[]): Promise<void> {
  const { code } = await new Deno.Command(program, { args, stdout: "inherit", stderr: "inherit" }).output();
  if (code === 0) return;
  console.error(`${[program, ...args].join(" ")}: ended with code ${code}`);
  Deno.exit(code);
}
