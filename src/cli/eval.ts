/**
 * `pare eval MODEL` measures the perplexity of a model on texts and its zero-shot accuracy on tasks. The model runs in this
 * process. With `--compare`, other models are measured on the same texts and tasks, and the table has a column for each. It then also says
 * how far their predictions are from those of MODEL.
 */

import { Command, InvalidArgumentError } from "commander";
import { readExamples } from "../model/evaluation/read_examples.ts";
import { findTask, type Task, TASKS } from "../model/evaluation/tasks.ts";
import {
  addBackendOption,
  addCommonOptions,
  addSeqlenOption,
  appendValue,
  type BackendFlags,
  type CommonOptions,
  integer,
} from "./options/common_options.ts";
import { evalTable } from "./eval/eval_table.ts";
import { evaluateModels, type EvaluationPlan } from "./eval/evaluate_models.ts";
import { UsageError } from "./errors.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import { requireFiles } from "./files/input_file.ts";
import { openBackend } from "./open_backend.ts";
import { addExample } from "./options/help.ts";
import { MODEL_ARGUMENT } from "./files/model_folder.ts";
import { Output } from "./terminal/output.ts";
import type { TextFile } from "../prune/texts/named_texts.ts";
import { openText, requireTexts, TEXT_VALUES } from "./files/text_source.ts";
import { messageOf } from "../base/errors.ts";

/** A task and the file with its examples. */
interface TaskFile {
  readonly task: Task;
  readonly file: string;
}

/** The options as commander parses them. */
interface EvalOptions extends CommonOptions, BackendFlags {
  readonly text: readonly string[];
  readonly task: readonly TaskFile[];
  readonly compare: readonly string[];
  readonly seqlen?: number;
  readonly windows?: number;
  readonly limit?: number;
}

/** Returns the command `pare eval`. `signal` stops it. */
export function createEvalCommand(signal: AbortSignal): Command {
  const command = new Command("eval")
    .description("measure perplexity and KL divergence on texts, and accuracy on zero-shot tasks")
    .argument("<model>", MODEL_ARGUMENT)
    .option(
      "--text <text>",
      `a text to measure the perplexity on: ${TEXT_VALUES}; may be repeated`,
      appendValue,
      [],
    )
    .option(
      "--task <name=file>",
      `a zero-shot task and the .jsonl or .csv file of its examples (${
        TASKS.map(({ name }) => name).join(", ")
      }); may be repeated`,
      appendTask,
      [],
    )
    .option(
      "--compare <model>",
      "another model to measure in the same way, and to compare with <model> by the KL divergence of its predictions; may be repeated",
      appendValue,
      [],
    )
    .option(
      "--windows <n>",
      "measure only the first n windows of a text (default: all complete windows)",
      integer(1),
    )
    .option("--limit <n>", "measure only the first n examples of a task (default: all)", integer(1));
  addCommonOptions(addBackendOption(addSeqlenOption(command, 2)));
  addExample(
    command,
    "eval ./opt-125m --compare pruned --text wikitext.txt --seqlen 2048 --task piqa=piqa.jsonl",
  );
  return command.action((model: string, options: EvalOptions) => evaluate(model, options, signal));
}

/** Parses one `--task NAME=FILE` and returns it after the tasks of earlier uses of the option. */
function appendTask(value: string, earlier: readonly TaskFile[]): TaskFile[] {
  const equals = value.indexOf("=");
  if (equals < 0 || equals === value.length - 1) {
    throw new InvalidArgumentError("It must be NAME=FILE, such as lambada=lambada.jsonl.");
  }
  try {
    return [...earlier, { task: findTask(value.slice(0, equals)), file: value.slice(equals + 1) }];
  } catch (error) {
    throw new InvalidArgumentError(`${messageOf(error)}.`);
  }
}

async function evaluate(model: string, options: EvalOptions, signal: AbortSignal): Promise<void> {
  const { text: texts, task: tasks, compare } = options;
  if (texts.length + tasks.length === 0) throw new UsageError("eval: needs at least one --text or --task");
  await requireTexts({ text: texts });
  await requireFiles({ task: tasks.map(({ file }) => file) });
  const output = new Output(options.json ?? false), opened: TextFile[] = [];
  for (const text of texts) opened.push(await openText("text", text, output, signal));
  const plan: EvaluationPlan = {
    texts: opened,
    tasks: await Promise.all(tasks.map(async ({ task, file }) => (
      { task, file, examples: await readExamples(task, file, denoFileSystem, options.limit) }
    ))),
    windows: options.windows,
    seqlen: options.seqlen,
  };
  await using cleanup = new AsyncDisposableStack();
  const backend = cleanup.adopt(
    await openBackend(options.backend, options),
    (opened) => opened.dispose(),
  );
  const results = await evaluateModels([model, ...compare], plan, { backend, output, signal });
  output.result({ models: results }, [evalTable(results)]);
}
