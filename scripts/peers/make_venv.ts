/**
 * Makes a virtual environment of Python, or completes one that exists. The argument is the name of the environment, one
 * of those in `venv.ts`. The default is `readers`. The variable PARE_PYTHON is the path of the Python program that
 * makes the environment. Its default is `python3`. With the argument `llama-cpp`, npm installs llama.cpp.
 */

import { INSTALL_LLAMA_CPP } from "./npm/llama_cpp.ts";
import { VENVS } from "./venv.ts";

const [name = "readers"] = Deno.args;
if (name === "llama-cpp") {
  await run("npm", ...INSTALL_LLAMA_CPP);
  Deno.exit(0);
}
if (!Object.hasOwn(VENVS, name)) {
  console.error(
    `venv ${name}: the environment must be ${[...Object.keys(VENVS), "llama-cpp"].join(" or ")}`,
  );
  Deno.exit(2);
}
const { folder, python, requirements } = VENVS[name as keyof typeof VENVS];
await run(Deno.env.get("PARE_PYTHON") ?? "python3", "-m", "venv", folder);
await run(python, "-m", "pip", "install", "--quiet", "--requirement", requirements);
await run(python, "-m", "pip", "list");
console.log(`the libraries of the environment ${name} are in ${folder}`);

/** Runs a program and waits until it ends. If the program fails, this process exits with the same code. */
async function run(program: string, ...args: string[]): Promise<void> {
  const { code } = await new Deno.Command(program, { args, stdout: "inherit", stderr: "inherit" }).output();
  if (code === 0) return;
  console.error(`${[program, ...args].join(" ")}: ended with code ${code}`);
  Deno.exit(code);
}
