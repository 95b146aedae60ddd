/** Where the virtual environment of the peers is: the Python libraries of `requirements.txt`, which read what Pare writes. */

import { fileURLToPath } from "node:url";

/** The folder of the virtual environment. It is not in the repository; `deno task peers:venv` makes it. */
export const PEERS_VENV = fileURLToPath(new URL("../../.cache/peers", import.meta.url));

/** The list of the libraries. */
export const PEERS_REQUIREMENTS = fileURLToPath(new URL("requirements.txt", import.meta.url));

/** The Python program of the virtual environment. */
export const PEERS_PYTHON = Deno.build.os === "windows"
  ? `${PEERS_VENV}/Scripts/python.exe`
  : `${PEERS_VENV}/bin/python`;

/**
 * Returns the reason why the peers cannot be used. Undefined if the virtual environment exists and its libraries can be imported.
 */
export async function peersSkipReason(): Promise<string | undefined> {
  const args = ["-c", "import torch, transformers, compressed_tensors, safetensors"];
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(PEERS_PYTHON, { args, stdout: "null", stderr: "piped" }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return "the virtual environment of the peers is missing; `deno task peers:venv` makes it";
  }
  if (output.success) return undefined;
  const [error] = new TextDecoder().decode(output.stderr).trim().split("\n").slice(-1);
  return `the virtual environment of the peers is incomplete (${error}); \`deno task peers:venv\` completes it`;
}
