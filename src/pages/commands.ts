/** The commands and programs of the pages. They run as they are, except for the names of keys, models and files. */

import type { ServerFacts } from "./layout.tsx";
import { SAMPLE_PATH } from "./page_files.ts";

/** The facts that stand in the commands. */
type Server = Pick<ServerFacts, "origin" | "keys">;

/** A command line that prunes the sample layer. */
export function curlCommand({ origin, keys }: Server): string {
  return [
    `curl -s ${origin}${SAMPLE_PATH}`,
    "| curl -sS --fail-with-body -D - -o pruned.safetensors",
    ...keys === "needed" ? ['-H "Authorization: Bearer KEY"'] : [],
    '-H "Content-Type: application/vnd.safetensors"',
    `--data-binary @- "${origin}/v1/layers?pattern=2:4"`,
  ].join(" \\\n  ");
}

/** A command line that prunes a whole model. */
export function pruneCommand({ origin, keys }: Server): string {
  return [
    "pare prune facebook/opt-125m",
    "--sparsity 0.5 --out pruned",
    `--server ${origin}`,
    ...keys === "needed" ? ["--api-key KEY"] : [],
  ].join(" \\\n  ");
}

/** A program that prunes the sample layer with the TypeScript SDK. */
export function typescriptProgram({ origin, keys }: Server): string {
  const key = keys === "needed" ? ', apiKey: "KEY"' : "";
  return `import { decode, Pare } from "pare-llm-client";

const pare = new Pare({ baseUrl: "${origin}"${key} });
const file = await fetch("${origin}${SAMPLE_PATH}");
const { tensors } = decode(new Uint8Array(await file.arrayBuffer()));
const { report } = await pare.pruneLayer({
  weight: tensors.get("weight")!,
  hessian_upper: tensors.get("hessian_upper")!,
}, { pattern: "2:4" });
console.log(report.zeros, report.relative_error);`;
}

/** A program that prunes a PyTorch model, which it has loaded already, with the Python package. */
export function pythonProgram({ origin, keys }: Server): string {
  const key = keys === "needed" ? ', api_key="KEY"' : "";
  return `from pare_llm import Pare, prune_

pare = Pare("${origin}"${key})
report = prune_(model, batches, pare, sparsity=0.5)`;
}
