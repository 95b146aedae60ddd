/**
 * `pare eval MODEL` measures the perplexity of a model on texts. The model runs in this
 * process. With `--compare`, other models are measured on the same texts, and the table has a column for each, with its
 * divergence from MODEL.
 */

import { Command } from "commander";
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
import { openBackend } from "./open_backend.ts";
import { addExample } from "./options/help.ts";
import { MODEL_ARGUMENT } from "./files/model_folder.ts";
import { Output } from "./terminal/output.ts";
import type { TextFile } from "../prune/texts/named_texts.ts";
import { openText, requireTexts, TEXT_VALUES } from "./files/text_source.ts";

/** The options as commander parses them. */
interface EvalOptions extends CommonOptions, BackendFlags {
  readonly text: readonly string[];
  readonly compare: readonly string[];
  readonly seqlen?: number;
  readonly windows?: number;
}

/** Returns the command `pare eval`. `signal` stops it. */
export function createEvalCommand(signal: AbortSignal): Command {
  const command = new Command("eval")
    .description("measure perplexity and KL divergence on texts")
    .argument("<model>", MODEL_ARGUMENT)
    .option(
      "--text <text>",
      `a text to measure the perplexity on: ${TEXT_VALUES}; may be repeated`,
      appendValue,
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
    );
  addCommonOptions(addBackendOption(addSeqlenOption(command, 2)));
  addExample(
    command,
    "eval ./opt-125m --compare pruned --text wikitext.txt --seqlen 2048",
  );
  return command.action((model: string, options: EvalOptions) => evaluate(model, options, signal));
}

async function evaluate(model: string, options: EvalOptions, signal: AbortSignal): Promise<void> {
  const { text: texts, compare } = options;
  if (texts.length === 0) throw new UsageError("eval: needs at least one --text");
  await requireTexts({ text: texts });
  const output = new Output(options.json ?? false), opened: TextFile[] = [];
  for (const text of texts) opened.push(await openText("text", text, output, signal));
  const plan: EvaluationPlan = { texts: opened, windows: options.windows, seqlen: options.seqlen };
  await using cleanup = new AsyncDisposableStack();
  const backend = await openBackend(options, cleanup);
  const results = await evaluateModels([model, ...compare], plan, { backend, output, signal });
  output.result({ models: results }, [evalTable(results)]);
}
