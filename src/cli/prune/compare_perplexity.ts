/** Reads the texts of `--text`, measures the perplexity of two models on them, and compares the predictions of both. */

import type { Tokenizer } from "@huggingface/tokenizers";
import type { FileSystem } from "../../base/files/file_system.ts";
import type { Backend } from "../../device/backend.ts";
import { comparePerplexities, countWindows } from "../../model/evaluation/perplexity.ts";
import type { Model } from "../../model/model.ts";
import type { RunReport } from "../../prune/report/run_report.ts";
import { finiteOrNull } from "../../prune/run/journal.ts";
import type { TextFile } from "../../prune/texts/named_texts.ts";
import { type EvaluationWindows, readEvaluationText } from "../files/text_source.ts";
import { percentText, type ProgressDisplay } from "../terminal/output.ts";

export interface TokenizedText {
  /** The name of its file. */
  readonly text: string;
  /** The token ids of the whole text. */
  readonly tokens: Uint32Array;
  /** The number of windows (pieces of `seqlen` tokens) that are measured. */
  readonly windows: number;
}

/** @throws {ModelError} if a text is malformed or too short */
export async function readEvaluationTexts(
  tokenizer: Tokenizer,
  texts: readonly TextFile[],
  { seqlen, windows }: EvaluationWindows,
  fs: FileSystem,
): Promise<TokenizedText[]> {
  const tokenized: TokenizedText[] = [];
  for (const text of texts) {
    const tokens = await readEvaluationText(tokenizer, text, { seqlen, windows }, fs);
    tokenized.push({ text: text.label, tokens, windows: countWindows(tokens.length, seqlen, windows) });
  }
  return tokenized;
}

interface ComparisonOptions {
  /** Tokens per window. */
  readonly seqlen: number;
  readonly backend: Backend;
  readonly signal?: AbortSignal;
  readonly progress: ProgressDisplay;
}

/** Measures both models on every text. */
export async function comparePerplexity(
  { dense, pruned }: { readonly dense: Model; readonly pruned: Model },
  texts: readonly TokenizedText[],
  { seqlen, backend, signal, progress }: ComparisonOptions,
): Promise<RunReport["perplexity"]> {
  const rows: RunReport["perplexity"] = [];
  for (const { text, tokens, windows } of texts) {
    const [before, { perplexity, divergence }] = await comparePerplexities(
      [{ model: dense, tokens }, { model: pruned, tokens }],
      backend,
      {
        seqlen,
        windows,
        signal,
        progress: (index, done, total) =>
          progress.note(
            `perplexity of the ${index === 0 ? "dense" : "pruned"} model ${percentText(done, total)}`,
          ),
      },
    );
    rows.push({
      text,
      seqlen,
      windows: before.windows,
      dense: finiteOrNull(before.perplexity),
      pruned: finiteOrNull(perplexity),
      divergence: finiteOrNull(divergence!),
    });
  }
  return rows;
}
