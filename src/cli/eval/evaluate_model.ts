/** Evaluates one model for `pare eval`: opens the model, measures every text and every task, and closes the model. */

import { basename } from "node:path";
import type { Backend } from "../../device/backend.ts";
import { evaluateTask, type TaskMetrics } from "../../model/evaluation/evaluate_task.ts";
import type { LocatedExample } from "../../model/evaluation/read_examples.ts";
import type { Task } from "../../model/evaluation/tasks.ts";
import { openModelFolder } from "../../model/model.ts";
import { computePerplexity, type Perplexity } from "../../model/evaluation/perplexity.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import type { TextFile } from "../../prune/texts/named_texts.ts";
import { readEvaluationText } from "../files/text_source.ts";
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
  /** Tokens per window. The default depends on the model. */
  readonly seqlen?: number;
}

/** The parts that the evaluations of all models share. */
export interface EvaluationSetting {
  readonly backend: Backend;
  readonly output: Output;
  readonly signal: AbortSignal;
}

/** The results of one model, as `--json` prints them. */
export interface ModelEvaluation {
  /** The name on the command line. */
  readonly model: string;
  /** Tokens per window of the texts. */
  readonly seqlen: number;
  readonly texts: readonly (Perplexity & { readonly text: string })[];
  readonly tasks: readonly {
    readonly task: string;
    readonly file: string;
    readonly examples: number;
    readonly metrics: TaskMetrics;
  }[];
}

/**
 * Evaluates the model `name`, which is a folder, or `hf:OWNER/NAME` for a model of the Hugging Face hub.
 * @throws {ModelError} if the model or a text cannot be read, or if a text is too short
 */
export async function evaluateModel(
  name: string,
  plan: EvaluationPlan,
  { backend, output, signal }: EvaluationSetting,
): Promise<ModelEvaluation> {
  await using opened = await openModelFolder(await modelFolder(name, output, signal), denoFileSystem);
  remarkFormat(opened, output);
  const { model } = opened;
  const tokenizer = await opened.loadTokenizer();
  const seqlen = windowTokens(model, plan.seqlen);
  const withProgress = async <T>(
    what: string,
    measure: (progress: (done: number, total: number) => void) => Promise<T>,
  ): Promise<T> => {
    const progress = output.progress(`${basename(name)} on ${what}`);
    try {
      return await measure((done, total) => progress.step(done, total));
    } finally {
      progress.stop();
    }
  };
  const texts: ModelEvaluation["texts"][number][] = [];
  for (const text of plan.texts) {
    const { windows } = plan;
    const tokens = await readEvaluationText(tokenizer, text, { seqlen, windows }, denoFileSystem);
    const measured = await withProgress(
      text.label,
      (progress) => computePerplexity(model, backend, tokens, { seqlen, windows, signal, progress }),
    );
    texts.push({ text: text.name ?? text.path, ...measured });
  }
  const tasks: ModelEvaluation["tasks"][number][] = [];
  for (const { task, file, examples } of plan.tasks) {
    const metrics = await withProgress(
      task.name,
      (progress) => evaluateTask(task, examples, model, tokenizer, backend, { signal, progress }),
    );
    tasks.push({ task: task.name, file, examples: examples.length, metrics });
  }
  return { model: name, seqlen, texts, tasks };
}
