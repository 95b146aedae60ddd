/** Reads the texts of a run, measures the perplexity of two models on the texts of `--text`, and compares the predictions of both. */

import type { Tokenizer } from "@huggingface/tokenizers";
import type { Backend } from "../../device/backend.ts";
import { comparePerplexities, countWindows } from "../../model/evaluation/perplexity.ts";
import type { Model } from "../../model/model.ts";
import type { RunReport } from "../../prune/report/run_report.ts";
import { finiteOrNull } from "../../prune/run/journal.ts";
import {
  type CalibrationTexts,
  type CalibrationWindows,
  readCalibration,
} from "../../prune/read_calibration.ts";
import type { RunTexts } from "../../prune/texts/named_texts.ts";
import { denoFileSystem as fs } from "../files/deno_file_system.ts";
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

/** Reads the windows of the calibration and the texts of `--text`. @throws {ModelError} if a text is malformed or too short */
export async function readRunTexts(
  tokenizer: Tokenizer,
  texts: RunTexts,
  options: Omit<CalibrationTexts, "calibration"> & EvaluationWindows,
): Promise<CalibrationWindows & { readonly evaluated: readonly TokenizedText[] }> {
  const windows = await readCalibration(tokenizer, { ...options, calibration: texts.calibration }, fs);
  const evaluated: TokenizedText[] = [];
  for (const text of texts.evaluation) {
    const tokens = await readEvaluationText(tokenizer, text, options, fs);
    const count = countWindows(tokens.length, options.seqlen, options.windows);
    evaluated.push({ text: text.label, tokens, windows: count });
  }
  return { ...windows, evaluated };
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
