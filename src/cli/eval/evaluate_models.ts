/** Evaluates models for `pare eval`: opens them, measures every text, and closes them. */

import { basename } from "node:path";
import type { Tokenizer } from "@huggingface/tokenizers";
import type { Backend } from "../../device/backend.ts";
import { type Model, openModelFolder } from "../../model/model.ts";
import { comparePerplexities, type ModelText } from "../../model/evaluation/perplexity.ts";
import type { ComparedPerplexity } from "../../model/evaluation/text_measurement.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import type { TextFile } from "../../prune/texts/named_texts.ts";
import { type EvaluationWindows, readEvaluationText } from "../files/text_source.ts";
import { modelFolder, remarkFormat } from "../files/model_folder.ts";
import { type Output, percentText, type ProgressDisplay } from "../terminal/output.ts";
import { UsageError } from "../errors.ts";
import { windowTokens } from "../options/common_options.ts";

/** The texts on which every model is measured. */
export interface EvaluationPlan {
  readonly texts: readonly TextFile[];
  /** The number of windows (pieces of `seqlen` tokens) of each text. Defaults to all complete windows. */
  readonly windows?: number;
  /** Tokens per window. The default depends on the first model. */
  readonly seqlen?: number;
}

/** The device, the output and the signal of an evaluation. */
export interface EvaluationSetting {
  readonly backend: Backend;
  readonly output: Output;
  readonly signal: AbortSignal;
}

/** The results of one model on one text. */
type TextEvaluation = ComparedPerplexity & { readonly text: string };

/** The results of one model, as `--json` prints them. */
export interface ModelEvaluation {
  /** The name on the command line. */
  readonly model: string;
  /** Tokens per window of the texts. */
  readonly seqlen: number;
  readonly texts: readonly TextEvaluation[];
}

/**
 * Evaluates models. The name of a model is a folder, or `hf:OWNER/NAME` for a model of the Hugging Face hub. The first
 * model is the reference of `comparePerplexities`.
 * @throws {UsageError} if a model has fewer positions than the windows have tokens
 * @throws {ModelError} if a model or a text cannot be read, or if a text is too short
 */
export async function evaluateModels(
  names: readonly string[],
  plan: EvaluationPlan,
  setting: EvaluationSetting,
): Promise<ModelEvaluation[]> {
  const { output, signal } = setting;
  await using opened = new AsyncDisposableStack();
  const models: OpenedModel[] = [];
  for (const name of names) {
    const folder = opened.use(await openModelFolder(await modelFolder(name, output, signal), denoFileSystem));
    remarkFormat(folder, output);
    models.push({ name, model: folder.model, tokenizer: await folder.loadTokenizer() });
  }
  const windows = { seqlen: commonWindowTokens(models, plan.seqlen), windows: plan.windows };
  const texts: TextEvaluation[][] = [];
  for (const text of plan.texts) texts.push(await evaluateText(models, text, windows, setting));
  return models.map(({ name }, m) => (
    { model: name, seqlen: windows.seqlen, texts: texts.map((ofText) => ofText[m]) }
  ));
}

interface OpenedModel {
  /** The name on the command line. */
  readonly name: string;
  readonly model: Model;
  readonly tokenizer: Tokenizer;
}

/** Returns the tokens per window, which by default follow from the first model. Perplexities are comparable only for the same windows. */
function commonWindowTokens([first, ...others]: readonly OpenedModel[], seqlen?: number): number {
  const tokens = windowTokens(first.model, { seqlen });
  for (const { name, model: { spec: { maxTokens } } } of others) {
    if (tokens <= maxTokens) continue;
    const source = seqlen === undefined ? `, as ${first.name} allows` : "";
    throw new UsageError(
      `option --compare ${name}: the model has positions for ${maxTokens} tokens, but the windows have ${tokens}${source}`,
    );
  }
  return tokens;
}

/** Measures all models on a text. */
async function evaluateText(
  models: readonly OpenedModel[],
  text: TextFile,
  windows: EvaluationWindows,
  { backend, output, signal }: EvaluationSetting,
): Promise<TextEvaluation[]> {
  const inputs: ModelText[] = [];
  for (const { model, tokenizer } of models) {
    inputs.push({ model, tokens: await readEvaluationText(tokenizer, text, windows, denoFileSystem) });
  }
  let shown: { readonly index: number; readonly display: ProgressDisplay } | undefined;
  const progress = (index: number, done: number, total: number) => {
    if (shown?.index !== index) {
      shown?.display.stop();
      shown = {
        index,
        display: output.progress(`${basename(models[index].name)} on ${text.label}`, percentText),
      };
    }
    shown.display.step(done, total);
  };
  try {
    const figures = await comparePerplexities(inputs, backend, { ...windows, signal, progress });
    const name = text.label === basename(text.path) ? text.path : text.label; // a file is named by its path
    return figures.map((ofModel) => ({ text: name, ...ofModel }));
  } finally {
    shown?.display.stop();
  }
}
