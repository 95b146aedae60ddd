/**
 * `pare generate MODEL PROMPT` continues a text, to see what a model writes after it was pruned. The text is printed token by
 * token. The most likely token is chosen, unless `--temperature` asks for random ones.
 */

import { Command } from "commander";
import { uniform } from "../layer/calibration/windows.ts";
import { openModelFolder } from "../model/model.ts";
import { readEndTokens, type Sampling } from "../model/generation/choose_token.ts";
import { generate } from "../model/generation/generate.ts";
import { TextStream } from "../model/generation/text_stream.ts";
import { encodeText } from "../model/tokenizer/tokenizer.ts";
import { secondsText } from "../prune/report/format.ts";
import { UsageError } from "./errors.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import { MODEL_ARGUMENT, modelFolder, remarkFormat } from "./files/model_folder.ts";
import { openBackend } from "./open_backend.ts";
import {
  addBackendOption,
  addCommonOptions,
  type BackendFlags,
  type CommonOptions,
  integer,
  number,
} from "./options/common_options.ts";
import { addExample } from "./options/help.ts";
import { Output } from "./terminal/output.ts";

/** The options as commander parses them. */
interface GenerateCommandOptions extends CommonOptions, BackendFlags {
  readonly tokens: number;
  readonly temperature: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly seed?: number;
}

/** The result, as `--json` prints it. */
export interface GeneratedText {
  readonly model: string;
  readonly prompt: string;
  readonly prompt_tokens: readonly number[];
  /** The text after the prompt. */
  readonly text: string;
  readonly tokens: readonly number[];
  /** Why the text ends: after an end token, after `--tokens`, or because the model has no more positions. */
  readonly ended_by: "end_token" | "tokens" | "positions";
  /** The time until the first token, and of all later ones. */
  readonly seconds: { readonly first: number; readonly rest: number };
}

/** Returns the command `pare generate`. `signal` stops it. */
export function createGenerateCommand(signal: AbortSignal): Command {
  const command = new Command("generate")
    .description("continue a text, to see what a model writes")
    .argument("<model>", MODEL_ARGUMENT)
    .argument("<prompt>", "the start of the text")
    .option("--tokens <n>", "the largest number of tokens to add to the prompt", integer(1), 128)
    .option(
      "--temperature <t>",
      "draw tokens at random; larger temperatures make unlikely tokens more frequent. 0 always takes the most likely token",
      number("of 0 or more", (value) => value >= 0),
      0,
    )
    .option(
      "--top-p <p>",
      "draw only from the most likely tokens that together have the probability p",
      number("above 0 and at most 1", (value) => value > 0 && value <= 1),
    )
    .option("--top-k <n>", "draw only from the n most likely tokens", integer(1))
    .option("--seed <n>", "the seed of the random numbers (default: 0)", integer(0, 2 ** 32 - 1));
  addCommonOptions(addBackendOption(command));
  addExample(
    command,
    'generate out/pruned "The state of the Union is"',
    'generate out/pruned "Once upon a time" --temperature 0.8 --top-p 0.95 --seed 1',
  );
  return command.action((model: string, prompt: string, options: GenerateCommandOptions) =>
    continueText(model, prompt, options, signal)
  );
}

/** Returns how tokens are drawn, or undefined if the most likely one is always taken. */
function readSampling({ temperature, topP, topK, seed }: GenerateCommandOptions): Sampling | undefined {
  if (temperature > 0) return { temperature, topP, topK, random: uniform(seed ?? 0) };
  const given = Object.entries({ "top-p": topP, "top-k": topK, seed }).find(([, value]) =>
    value !== undefined
  );
  if (!given) return undefined;
  throw new UsageError(`option --${given[0]}: has no effect without a --temperature above 0`);
}

async function continueText(
  name: string,
  prompt: string,
  options: GenerateCommandOptions,
  signal: AbortSignal,
): Promise<void> {
  const sampling = readSampling(options), output = new Output(options.json ?? false);
  await using opened = await openModelFolder(await modelFolder(name, output, signal), denoFileSystem);
  remarkFormat(opened, output);
  const { model, checkpoint } = opened, { maxTokens } = model.spec;
  const tokenizer = await opened.loadTokenizer(), endTokens = await readEndTokens(checkpoint, denoFileSystem);
  const promptTokens = encodeText(tokenizer, prompt, "txt");
  if (promptTokens.length === 0) {
    throw new UsageError("the prompt is empty, but must have at least one token");
  }
  if (promptTokens.length >= maxTokens) {
    throw new UsageError(
      `the prompt has ${promptTokens.length} tokens, but the model has ${maxTokens} positions, which must hold at least one more token`,
    );
  }
  await using cleanup = new AsyncDisposableStack();
  const backend = await openBackend(options, cleanup);

  const stream = new TextStream(tokenizer, promptTokens), tokens: number[] = [];
  const startedAt = performance.now();
  let text = "", firstAt = startedAt;
  const print = (piece: string) => {
    text += piece;
    output.stream(piece);
  };
  output.stream(prompt);
  const { tokens: limit } = options;
  const written = generate(model, backend, promptTokens, { tokens: limit, endTokens, sampling, signal });
  try {
    for await (const token of written) {
      if (tokens.push(token) === 1) firstAt = performance.now();
      print(stream.add(token));
    }
    print(stream.end());
  } finally {
    output.stream("\n"); // An error message then starts a line of its own.
  }

  const seconds = { first: (firstAt - startedAt) / 1e3, rest: (performance.now() - firstAt) / 1e3 };
  const ended_by = endTokens.has(tokens.at(-1)!)
    ? "end_token"
    : tokens.length === limit
    ? "tokens"
    : "positions";
  const result: GeneratedText = {
    model: name,
    prompt,
    prompt_tokens: [...promptTokens],
    text,
    tokens,
    ended_by,
    seconds,
  };
  if (output.json) output.result(result, []);
  else {
    output.remark(
      `${tokens.length} tokens: the first after ${secondsText(seconds.first)}, the others in ${
        secondsText(seconds.rest)
      }`,
    );
  }
}
