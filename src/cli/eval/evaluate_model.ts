/** Evaluates models for `pare eval`: opens them, measures every text and every task, and closes them. */

import { basename } from "node:path";
import type { Tokenizer } from "@huggingface/tokenizers";
import type { Backend } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import { evaluateTask, type TaskMetrics } from "../../model/evaluation/evaluate_task.ts";
import type { LocatedExample } from "../../model/evaluation/read_examples.ts";
import type { Task } from "../../model/evaluation/tasks.ts";
import { type Model, openModelFolder } from "../../model/model.ts";
import { type ComparedPerplexity, Predictions } from "../../model/evaluation/perplexity.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import type { TextFile } from "../../prune/texts/named_texts.ts";
import { type EvaluationWindows, readEvaluationText } from "../files/text_source.ts";
import { modelFolder, remarkFormat } from "../files/model_folder.ts";
import type { Output } from "../terminal/output.ts";
import { windowTokens } from "../options/common_options.ts";

/** The texts and tasks on which every model is measured. */
export interface EvaluationPlan {
  readonly texts: readonly TextFile[];
  readonly tasks: readonly {
    readonly task: Task;
    readonly file: string;
    readonly examples: readonly LocatedExample[];
  }[];
  /** The number of windows (pieces of `seqlen` tokens) of each text. Defaults to all complete windows. */
  readonly windows?: number;
  /** Tokens per window. The default depends on the first model. */
  readonly seqlen?: number;
}

/** The parts that the evaluations of all models share. */
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
  readonly tasks: readonly {
    readonly task: string;
    readonly file: string;
    readonly examples: number;
    readonly metrics: TaskMetrics;
  }[];
}

/**
 * Evaluates models, each of which is a folder, or `hf:OWNER/NAME` for a model of the Hugging Face hub. The predictions of the others are
 * compared with those of the first model for each text that has the same tokens in both.
 * @throws {ModelError} if a model or a text cannot be read, or if a text is too short
 */
export async function evaluateModels(
  names: readonly string[],
  plan: EvaluationPlan,
  setting: EvaluationSetting,
): Promise<ModelEvaluation[]> {
  await using opened = new AsyncDisposableStack();
  const models: OpenedModel[] = [];
  for (const name of names) {
    const model = opened.use(
      await openModelFolder(await modelFolder(name, setting.output, setting.signal), denoFileSystem),
    );
    remarkFormat(model, setting.output);
    models.push({ name, model: model.model, tokenizer: await model.loadTokenizer() });
  }
  // Perplexities are comparable only if the texts are cut into the same windows. All models therefore use the window length of the first.
  const seqlen = windowTokens(models[0].model, plan.seqlen);
  for (const { model } of models) windowTokens(model, seqlen);
  const texts: TextEvaluation[][] = [];
  for (const text of plan.texts) texts.push(await evaluateText(models, text, { ...plan, seqlen }, setting));
  const evaluations: ModelEvaluation[] = [];
  for (const [m, model] of models.entries()) {
    const tasks = await evaluateTasks(model, plan.tasks, setting);
    evaluations.push({ model: model.name, seqlen, texts: texts.map((ofText) => ofText[m]), tasks });
  }
  return evaluations;
}

interface OpenedModel {
  /** The name on the command line. */
  readonly name: string;
  readonly model: Model;
  readonly tokenizer: Tokenizer;
}

/** Measures all models on a text. */
async function evaluateText(
  models: readonly OpenedModel[],
  text: TextFile,
  { seqlen, windows }: EvaluationWindows,
  { backend, output, signal }: EvaluationSetting,
): Promise<TextEvaluation[]> {
  using kept = new ResourceSet();
  const evaluations: TextEvaluation[] = [];
  let first: Predictions | undefined;
  for (const { name, model, tokenizer } of models) {
    const tokens = await readEvaluationText(tokenizer, text, { seqlen, windows }, denoFileSystem);
    const reference = first?.fits(model, tokens, { seqlen, windows }) ? first : undefined;
    const predictions = await withProgress(
      output,
      `${basename(name)} on ${text.label}`,
      (progress) =>
        Predictions.compute(model, backend, tokens, { seqlen, windows, signal, progress, reference }),
    );
    evaluations.push({ text: text.name ?? text.path, ...predictions.figures });
    if (first) predictions.destroy();
    else first = kept.add(predictions);
  }
  return evaluations;
}

async function evaluateTasks(
  { name, model, tokenizer }: OpenedModel,
  tasks: EvaluationPlan["tasks"],
  { backend, output, signal }: EvaluationSetting,
): Promise<ModelEvaluation["tasks"]> {
  const evaluations: ModelEvaluation["tasks"][number][] = [];
  for (const { task, file, examples } of tasks) {
    const metrics = await withProgress(
      output,
      `${basename(name)} on ${task.name}`,
      (progress) => evaluateTask(task, examples, model, tokenizer, backend, { signal, progress }),
    );
    evaluations.push({ task: task.name, file, examples: examples.length, metrics });
  }
  return evaluations;
}

/** Shows the progress of `measure` under the title `what`. */
async function withProgress<T>(
  output: Output,
  what: string,
  measure: (progress: (done: number, total: number) => void) => Promise<T>,
): Promise<T> {
  const progress = output.progress(what);
  try {
    return await measure((done, total) => progress.step(done, total));
  } finally {
    progress.stop();
  }
}
