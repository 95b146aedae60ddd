/**
 * The virtual environments of the peers, which are the Python libraries that Pare is tested with and compared
 * to. The module also checks whether an environment can be used.
 */

import { fileURLToPath } from "node:url";

/** A virtual environment of Python. It is not in the repository, but is made by `command`. */
export interface Venv {
  readonly folder: string;
  readonly python: string;
  /** The path of the file that lists the libraries to install. */
  readonly requirements: string;
  readonly modules: readonly string[];
  readonly command: string;
}

/**
 * The environments by name. `readers` has the libraries that read the checkpoints that Pare writes, and `onnx` is the
 * same environment with the model builder of onnxruntime-genai. `gptqmodel` has the library that reads the layout
 * `gptq`. `llm-compressor` has the program with that name, which a bench compares with Pare. It needs older versions of
 * the libraries. `schemathesis` has the program with that name, which attacks the servers with requests that it
 * generates from their OpenAPI documents.
 */
export const VENVS = {
  "readers": declareVenv("peers", {
    requirements: "peers.txt",
    modules: ["torch", "transformers", "compressed_tensors", "safetensors", "lm_eval", "gguf", "mlx_lm"],
    command: "deno task venv",
  }),
  "onnx": declareVenv("peers", {
    requirements: "peers.txt",
    modules: ["torch", "transformers", "onnxruntime_genai", "onnx_ir"],
    command: "deno task venv",
  }),
  "gptqmodel": declareVenv("gptqmodel", {
    requirements: "gptqmodel.txt",
    modules: ["torch", "transformers", "gptqmodel"],
    command: "deno task venv gptqmodel",
  }),
  "llm-compressor": declareVenv("llm-compressor", {
    requirements: "llm_compressor.txt",
    modules: ["llmcompressor"],
    command: "deno task venv llm-compressor",
  }),
  "schemathesis": declareVenv("schemathesis", {
    requirements: "schemathesis.txt",
    modules: ["schemathesis"],
    command: "deno task venv schemathesis",
  }),
} satisfies Record<string, Venv>;

/** Prints the names of the modules in its arguments that are not installed. Importing them would take seconds. */
const FIND_MISSING =
  "import importlib.util as u, sys; print(*(m for m in sys.argv[1:] if not u.find_spec(m)))";

/** Returns the reason why an environment cannot be used, or undefined if its libraries are installed. */
export async function peersSkipReason(venv: Venv = VENVS.readers): Promise<string | undefined> {
  const args = ["-c", FIND_MISSING, ...venv.modules];
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(venv.python, { args, stdout: "piped", stderr: "inherit" }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return `the virtual environment of the peers is missing; \`${venv.command}\` makes it`;
  }
  const missing = new TextDecoder().decode(output.stdout).trim();
  if (output.success && missing === "") return undefined;
  return `the virtual environment of the peers lacks modules (${missing}); \`${venv.command}\` completes it`;
}

function declareVenv(
  name: string,
  { requirements, ...rest }: Pick<Venv, "requirements" | "modules" | "command">,
): Venv {
  const folder = fileURLToPath(new URL(`../../.cache/${name}`, import.meta.url));
  const python = Deno.build.os === "windows" ? `${folder}/Scripts/python.exe` : `${folder}/bin/python`;
  return {
    folder,
    python,
    requirements: fileURLToPath(new URL(`requirements/${requirements}`, import.meta.url)),
    ...rest,
  };
}
