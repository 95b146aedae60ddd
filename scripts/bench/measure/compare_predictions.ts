/** The windows that benches and tests send to `scripts/peers/bench/divergence.py`, which compares two models with transformers, and its answer. */

import { denoFileSystem as fs } from "../../../src/cli/files/deno_file_system.ts";
import { loadTokenizer, readTokens } from "../../../src/model/tokenizer/tokenizer.ts";
import { type Kind, KINDS, type Texts } from "../../fixtures/trained_models.ts";
import type { QualityModel } from "../quality/cells.ts";

/** One figure per kind of text. A kind is undefined if this machine has no such text. */
export type Figures = Readonly<Record<Kind, number | undefined>>;

/** The answer of `divergence.py`. */
export interface Comparison {
  readonly perplexities: Figures;
  /** The mean of KL(dense ‖ model) over the tokens, in nats. */
  readonly divergences: Figures;
}

/** The token ids of the windows, by the kind of the text. */
export type EvaluationWindows = Readonly<Partial<Record<Kind, readonly (readonly number[])[]>>>;

/** Reads the first windows of each text that this machine has. */
export async function readEvaluationWindows(
  { folder, seqlen, evaluationWindows }: Pick<QualityModel, "folder" | "seqlen" | "evaluationWindows">,
  texts: Texts,
): Promise<EvaluationWindows> {
  const windows: Partial<Record<Kind, number[][]>> = {}, tokenizer = await loadTokenizer(folder, fs);
  for (const kind of KINDS) {
    const { evaluation } = texts[kind];
    if (evaluation === undefined) continue;
    const tokens = await readTokens(tokenizer, evaluation, fs);
    windows[kind] = Array.from(
      { length: Math.min(evaluationWindows, Math.floor(tokens.length / seqlen)) },
      (_, i) => [...tokens.subarray(i * seqlen, (i + 1) * seqlen)],
    );
  }
  return windows;
}
