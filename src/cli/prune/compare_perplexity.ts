/** The perplexity of a model before and after it was pruned, for the report of the run. */

import type { Backend } from "../../backend/backend.ts";
import type { Model } from "../../models/model.ts";
import { computePerplexity } from "../../evaluation/perplexity.ts";
import type { RunReport } from "../../report/run_report.ts";

/** A text to measure on. */
export interface TokenizedText {
  /** Its file's name. */
  readonly text: string;
  readonly tokens: Uint32Array;
}

/** How it is measured. */
export interface ComparisonOptions {
  /** Tokens a window. */
  readonly seqlen: number;
  /** Only the first so many windows of a text; otherwise all that are whole. */
  readonly windows?: number;
  readonly backend: Backend;
  readonly signal?: AbortSignal;
  readonly progress?: (what: "dense model" | "pruned model", done: number, total: number) => void;
}

/** Measures both models on every text. @throws {RangeError} a text is too short, as `perplexity` */
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
      dense: finite(before.perplexity),
      pruned: finite(after.perplexity),
    });
  }
  return rows;
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
