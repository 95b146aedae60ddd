/** `pare eval MODEL --text FILE`: the perplexity of a model on a text, computed in this process. */

import { Command } from "commander";
import { openCheckpoint } from "../models/checkpoint.ts";
import { openModel } from "../models/model.ts";
import { loadTokenizer, readTokens } from "../models/tokenizer.ts";
import { perplexity } from "../pipeline/perplexity.ts";
import { type BackendChoice, selectBackend } from "../../routes/backends.ts";
import { addBackendOption, addCommonOptions, type CommonOptions } from "./common_options.ts";
import { denoFileSystem } from "./file_system.ts";
import { integer } from "./numbers.ts";
import { Output } from "./output.ts";
import { addSeqlenOption, windowTokens } from "./windows.ts";

interface Options extends CommonOptions {
  readonly text: string;
  readonly seqlen?: number;
  readonly windows?: number;
  readonly backend: BackendChoice;
}

/** The command, stopped by `signal`. */
export function evalCommand(signal: AbortSignal): Command {
  const command = new Command("eval")
    .description("measure the perplexity of a model on a text")
    .argument("<model>", "a Hugging Face checkpoint folder")
    .requiredOption("--text <file>", "a .txt file, or a .jsonl file with a document a line")
    .option("--windows <n>", "only the first n windows (default: all that are whole)", integer(1));
  addCommonOptions(addBackendOption(addSeqlenOption(command, 2)));
  return command.action((model: string, options: Options) => evaluate(model, options, signal));
}

async function evaluate(folder: string, options: Options, signal: AbortSignal): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const checkpoint = cleanup.adopt(await openCheckpoint(folder, denoFileSystem), (opened) => opened.close());
  const model = openModel(checkpoint);
  const seqlen = windowTokens(model, options.seqlen);
  const tokens = await readTokens(await loadTokenizer(folder, denoFileSystem), options.text, denoFileSystem);
  const backend = cleanup.adopt(await selectBackend(options.backend), (opened) => opened.dispose());
  const output = new Output(options.json ?? false);
  const progress = cleanup.adopt(output.progress("evaluating"), (bar) => bar.stop());
  const measured = await perplexity(model, backend, tokens, {
    seqlen,
    windows: options.windows,
    signal,
    progress: (done, total) => progress.step(done, total),
  });
  progress.stop();
  output.result(measured, [
    `perplexity ${measured.perplexity.toFixed(3)} over ${measured.windows} windows of ${seqlen} tokens`,
  ]);
}
