/**
 * Makes a virtual environment, or completes it. The argument names the environment: `readers`, which is the default, or
 * `llm-compressor`. PARE_PYTHON names the Python that the environment is made with; the default is `python3`.
 */

import { VENVS } from "./venv.ts";

const [name = "readers"] = Deno.args;
if (!Object.hasOwn(VENVS, name)) {
  console.error(`peers:venv ${name}: must be ${Object.keys(VENVS).join(" or ")}`);
  Deno.exit(2);
}
const { folder, python, requirements } = VENVS[name as keyof typeof VENVS];
await run(Deno.env.get("PARE_PYTHON") ?? "python3", "-m", "venv", folder);
await run(python, "-m", "pip", "install", "--quiet", "--requirement", requirements);
await run(python, "-m", "pip", "list");
console.log(`the libraries of ${name} are in ${folder}`);

/** Runs a program and waits for its end. Ends this process with the same code if the program fails. */
async function run(program: string, ...args: string[]): Promise<void> {
  const { code } = await new Deno.Command(program, { args, stdout: "inherit", stderr: "inherit" }).output();
  if (code === 0) return;
  console.error(`${[program, ...args].join(" ")}: ended with code ${code}`);
  Deno.exit(code);
}
