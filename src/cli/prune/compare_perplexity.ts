/** Measures the perplexity of a model before and after pruning, for the report of the run. */

import type { Backend } from "../../backend/backend.ts";
import type { Model } from "../../models/model.ts";
import { computePerplexity } from "../../evaluation/perplexity.ts";
import type { RunReport } from "../../report/run_report.ts";

/** An evaluation text. */
export interface TokenizedText {
  /** The name of its file. */
  readonly text: string;
  /** The token ids of the whole text. */
  readonly tokens: Uint32Array;
}

/** Options of {@link comparePerplexity}. */
export interface ComparisonOptions {
  /** Tokens per window. */
  readonly seqlen: number;
  /** The number of windows (pieces of `seqlen` tokens) of each text. Defaults to all complete windows. */
  readonly windows?: number;
  readonly backend: Backend;
  readonly signal?: AbortSignal;
  readonly progress?: (what: "dense model" | "pruned model", done: number, total: number) => void;
}

/** Measures both models on every text. @throws {RangeError} if a text is too short */
export async function comparePerplexity(
  { dense, pruned }: { readonly dense: Model; readonly pruned: Model },
  texts: readonly TokenizedText[],
  { seqlen, windows, backend, signal, progress }: ComparisonOptions,
): Promise<RunReport["perplexity"]> {
  const rows: RunReport["perplexity"] = [];
  for (const { text, tokens } of texts) {
    const measure = (model: Model, what: "dense model" | "pruned model") =>
      computePerplexity(model, backend, tokens, {
        seqlen,
        windows,
        signal,
        progress: (done, total) => progress?.(what, done, total),
      });
    const before = await measure(dense, "dense model");
    const after = await measure(pruned, "pruned model");
    rows.push({
      text,
      seqlen,
      windows: after.windows,
      dense: finiteOrNull(before.perplexity),
      pruned: finiteOrNull(after.perplexity),
    });
  }
  return rows;
}

/** Replaces a perplexity that is not finite by null, because JSON has no infinity. */
function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
