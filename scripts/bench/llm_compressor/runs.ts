/**
 * The runs that the bench of the peers compares. A run names a program, which is Pare or llm-compressor, the
 * parameters of the program, and the target.
 */

import type { LayerQuery } from "../../../src/protocol/layer_query.ts";

/**
 * How far the weights are compressed: the share that is pruned, the bits per weight, or both. Runs with the
 * same target can be compared.
 */
export type Target = "50 %" | "4 bit" | "50 % + 4 bit";

export interface PareRun {
  readonly program: "Pare";
  readonly target: Target;
  /** The method, as the table shows it. */
  readonly title: string;
  readonly parameters: LayerQuery;
  /** The recipe of llm-compressor that does the same work, if there is one. The times of the two are compared. */
  readonly counterpart?: string;
}

export interface LlmCompressorRun {
  readonly program: "llm-compressor";
  readonly target: Target;
  /** The modifiers, as the table shows them. */
  readonly title: string;
  /** The comma-separated list of modifiers that `../python/llm_compressor.py` accepts. */
  readonly recipe: string;
}

export type PeerRun = PareRun | LlmCompressorRun;

const HALF = { sparsity: 0.5 } as const, FOUR_BITS = { bits: 4 } as const;

export const RUNS: readonly PeerRun[] = [
  pare("50 %", "SparseGPT", { method: "sparsegpt", ...HALF }, "sparsegpt"),
  peer("50 %", "SparseGPTModifier", "sparsegpt"),
  pare("50 %", "ALPS", { method: "alps", ...HALF }),
  pare("50 %", "Wanda", { method: "wanda", ...HALF }, "wanda"),
  peer("50 %", "WandaPruningModifier", "wanda"),
  pare("4 bit", "GPTQ, searched ranges", { sparsity: 0, ...FOUR_BITS }, "gptq"),
  peer("4 bit", "GPTQModifier, actorder=None", "gptq"),
  pare("4 bit", "GPTQ, searched ranges, order=activation", {
    sparsity: 0,
    ...FOUR_BITS,
    order: "activation",
  }, "gptq-static"),
  peer("4 bit", "GPTQModifier, actorder=static", "gptq-static"),
  pare(
    "50 % + 4 bit",
    "SparseGPT and GPTQ in one pass",
    { method: "sparsegpt", ...HALF, ...FOUR_BITS },
    "sparsegpt,gptq",
  ),
  pare("50 % + 4 bit", "ALPS, then GPTQ on its mask", { method: "alps", ...HALF, ...FOUR_BITS }),
  pare(
    "50 % + 4 bit",
    "Wanda, then GPTQ on its mask",
    { method: "wanda", ...HALF, ...FOUR_BITS },
    "gptq,wanda",
  ),
  peer("50 % + 4 bit", "SparseGPTModifier, then GPTQModifier", "sparsegpt,gptq"),
  peer("50 % + 4 bit", "GPTQModifier, then SparseGPTModifier", "gptq,sparsegpt"),
  peer("50 % + 4 bit", "GPTQModifier, then WandaPruningModifier", "gptq,wanda"),
];

function pare(
  target: Target,
  title: string,
  parameters: PareRun["parameters"],
  counterpart?: string,
): PareRun {
  return { program: "Pare", target, title, parameters, ...(counterpart && { counterpart }) };
}

function peer(target: Target, title: string, recipe: string): LlmCompressorRun {
  return { program: "llm-compressor", target, title, recipe };
}
