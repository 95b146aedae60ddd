/** What `pare eval` does with one model: opens it, measures each text and each task, and closes it. */

import { basename } from "node:path";
import type { Backend } from "../../backend/backend.ts";
import { evaluateTask } from "../../evaluation/evaluate_task.ts";
import type { TaskMetrics } from "../../evaluation/task_metrics.ts";
import type { LocatedExample } from "../../evaluation/read_examples.ts";
import type { Task } from "../../evaluation/task.ts";
import { openCheckpoint } from "../../checkpoint/checkpoint.ts";
import { openModel } from "../../models/model.ts";
import { loadTokenizer, readTokens } from "../../models/tokenizer/tokenizer.ts";
import { computePerplexity, type Perplexity } from "../../evaluation/perplexity.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import { modelFolder } from "../files/model_folder.ts";
import type { Output } from "../terminal/output.ts";
import { windowTokens } from "../options/seqlen_option.ts";

/** What is measured of every model. */
export interface Work {
  readonly texts: readonly string[];
  readonly tasks: readonly {
    readonly task: Task;
    readonly file: string;
    readonly examples: readonly LocatedExample[];
  }[];
  /** Windows of each text; all that are whole unless given. */
  readonly windows?: number;
  /** Tokens a window; what suits the model unless given. */
  readonly seqlen?: number;
}

/** With what it is measured. */
export interface EvaluationSetting {
  readonly backend: Backend;
  readonly output: Output;
  readonly signal: AbortSignal;
}

/** The figures of one model, as `--json` prints them. */
export interface ModelResult {
  /** As it was named. */
  readonly model: string;
  /** Tokens a window of the texts. */
  readonly seqlen: number;
  readonly texts: readonly (Perplexity & { readonly text: string })[];
  readonly tasks: readonly {
    readonly task: string;
    readonly file: string;
    readonly examples: number;
    readonly metrics: TaskMetrics;
  }[];
}

/** Measures the model that `name` names, a folder or a reference. */
export async function evaluateModel(
  name: string,
  work: Work,
  { backend, output, signal }: EvaluationSetting,
): Promise<ModelResult> {
  await using cleanup = new AsyncDisposableStack();
  const folder = await modelFolder(name, output, signal);
  const checkpoint = cleanup.adopt(await openCheckpoint(folder, denoFileSystem), (opened) => opened.close());
  const model = openModel(checkpoint);
  const tokenizer = await loadTokenizer(folder, denoFileSystem);
  const seqlen = windowTokens(model, work.seqlen);
  const watch = async <T>(
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
  const texts: ModelResult["texts"][number][] = [];
  for (const text of work.texts) {
    const tokens = await readTokens(tokenizer, text, denoFileSystem);
    const { windows } = work;
    const measured = await watch(
      basename(text),
      (progress) => computePerplexity(model, backend, tokens, { seqlen, windows, signal, progress }),
    );
    texts.push({ text, ...measured });
  }
  const tasks: ModelResult["tasks"][number][] = [];
  for (const { task, file, examples } of work.tasks) {
    const metrics = await watch(
      task.name,
      (progress) => evaluateTask(task, examples, model, tokenizer, backend, { signal, progress }),
    );
    tasks.push({ task: task.name, file, examples: examples.length, metrics });
  }
  return { model: name, seqlen, texts, tasks };
}
