/** The runs that the bench of the peers compares: which program compresses a model, with which parameters, and to which target. */

/** What the compressed weights look like. Runs with the same target solve the same problem. */
export type Target = "50 %" | "4 bit" | "50 % + 4 bit";

/** A run of `pare prune`. */
export interface PareRun {
  readonly program: "Pare";
  readonly target: Target;
  /** The method, as the table shows it. */
  readonly title: string;
  /** The parameters of every layer, by the names of the options of `pare prune`. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** A run of llm-compressor. */
export interface LlmCompressorRun {
  readonly program: "llm-compressor";
  readonly target: Target;
  readonly title: string;
  /** The recipe, in the notation of `llm_compressor.py`. */
  readonly recipe: string;
}

export type PeerRun = PareRun | LlmCompressorRun;

const HALF = { sparsity: "0.5" }, FOUR_BITS = { bits: "4" };

/** All runs, in the order of the table. */
export const RUNS: readonly PeerRun[] = [
  pare("50 %", "SparseGPT", { method: "sparsegpt", ...HALF }),
  peer("50 %", "SparseGPTModifier", "sparsegpt"),
  pare("50 %", "ALPS", { method: "alps", ...HALF }),
  pare("50 %", "Wanda", { method: "wanda", ...HALF }),
  peer("50 %", "WandaPruningModifier", "wanda"),
  pare("4 bit", "GPTQ", { sparsity: "0", ...FOUR_BITS }),
  peer("4 bit", "GPTQModifier, actorder=None", "gptq"),
  pare("4 bit", "GPTQ, order=activation", { sparsity: "0", ...FOUR_BITS, order: "activation" }),
  peer("4 bit", "GPTQModifier, actorder=static", "gptq-static"),
  pare("50 % + 4 bit", "SparseGPT and GPTQ in one pass", { method: "sparsegpt", ...HALF, ...FOUR_BITS }),
  pare("50 % + 4 bit", "ALPS, then GPTQ on its mask", { method: "alps", ...HALF, ...FOUR_BITS }),
  pare("50 % + 4 bit", "Wanda, then GPTQ on its mask", { method: "wanda", ...HALF, ...FOUR_BITS }),
  peer("50 % + 4 bit", "SparseGPTModifier, then GPTQModifier", "sparsegpt,gptq"),
  peer("50 % + 4 bit", "GPTQModifier, then SparseGPTModifier", "gptq,sparsegpt"),
  peer("50 % + 4 bit", "GPTQModifier, then WandaPruningModifier", "gptq,wanda"),
];

function pare(target: Target, title: string, parameters: PareRun["parameters"]): PareRun {
  return { program: "Pare", target, title, parameters };
}

function peer(target: Target, title: string, recipe: string): LlmCompressorRun {
  return { program: "llm-compressor", target, title, recipe };
}

/** Returns the arguments of `pare prune` for the parameters of a run. */
export function pruneArguments({ parameters }: PareRun): string[] {
  return Object.entries(parameters).flatMap(([name, value]) => [`--${name}`, value]);
}
