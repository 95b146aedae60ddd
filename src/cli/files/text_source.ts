/**
 * Finds the texts that options name. A text is a file, `pare` for the text that comes with Pare, a named text such as `c4`, whose file is downloaded from the Hugging Face hub, or
 * `c4=FILE`, a file that is read as the named text.
 */

import { basename } from "node:path";
import { ModelError } from "../../base/files/file_error.ts";
import type { DatasetFile } from "../../model/hub/dataset_file.ts";
import { HubUnreachable } from "../../model/hub/hub_access.ts";
import {
  NAMED_TEXTS,
  parseSharedText,
  parseTextReference,
  type RunTexts,
  type SharedText,
  TEXT_NAMES,
  type TextFile,
  type TextName,
  type TextUse,
} from "../../prune/texts/named_texts.ts";
import { OWN_TEXT, ownText } from "../../prune/texts/own_text.ts";
import type { Output } from "../terminal/output.ts";
import { UsageError } from "../errors.ts";
import { requireFile } from "./input_file.ts";
import { useHub } from "./use_hub.ts";
import type { Tokenizer } from "@huggingface/tokenizers";
import { countWindows } from "../../model/evaluation/perplexity.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import { readTokens } from "../../model/tokenizer/tokenizer.ts";
import { namedEvaluationTokens } from "../../prune/texts/read_named_text.ts";

/** The description of the values of `--calibration` and `--text` in the help of commands. */
export const TEXT_VALUES =
  `.txt, .jsonl with one document per line, ${OWN_TEXT} for the text that comes with Pare, or ${
    TEXT_NAMES.join(" or ")
  } of the Hugging Face hub`;

/** The options that name texts. */
type TextOption = "calibration" | "text";

const USES: Readonly<Record<TextOption, TextUse>> = { calibration: "calibration", text: "evaluation" };

/** @throws {UsageError} if the share of the text is 0 */
function calibrationText(value: string): ReturnType<typeof parseSharedText> {
  const parsed = parseSharedText(value);
  if (parsed.share > 0) return parsed;
  throw new UsageError(`option --calibration ${value}: the share of a text must be larger than 0`);
}

/**
 * Checks that the files of texts exist. Named texts of the hub are not downloaded.
 * @param samples the number of calibration windows
 * @throws {UsageError} as `requireFile`, if the share of a text is 0, or if there are fewer windows than calibration texts
 */
export async function requireTexts(
  texts: Readonly<Partial<Record<TextOption, string | readonly string[]>>>,
  samples = Infinity,
): Promise<void> {
  const count = [texts.calibration ?? []].flat().length;
  if (count > samples) {
    throw new UsageError(
      `option --samples ${samples}: has fewer windows than the ${count} texts of --calibration`,
    );
  }
  for (const [option, values = []] of Object.entries(texts)) {
    for (const value of [values].flat()) {
      const text = option === "calibration" ? calibrationText(value).text : value;
      const { path } = parseTextReference(text);
      if (path !== undefined && text !== OWN_TEXT) await requireFile(`option --${option}`, path);
    }
  }
}

/** Returns the files of the texts of a run. @throws as {@link openText} */
export async function openRunTexts(
  { calibration, text }: { readonly calibration: readonly string[]; readonly text: readonly string[] },
  output: Output,
  signal: AbortSignal,
): Promise<RunTexts> {
  const shared: SharedText[] = [], evaluation: TextFile[] = [];
  for (const value of calibration) {
    const { text, share } = calibrationText(value);
    shared.push({ ...await openText("calibration", text, output, signal), share });
  }
  for (const value of text) evaluation.push(await openText("text", value, output, signal));
  return { calibration: shared, evaluation };
}

/**
 * Returns the file of a text. The file of a named text is downloaded unless the hub's cache has it.
 * @throws {ModelError} {HubUnreachable} if the file cannot be downloaded. The message says which file to bring
 */
export async function openText(
  option: TextOption,
  value: string,
  output: Output,
  signal: AbortSignal,
): Promise<TextFile> {
  if (value === OWN_TEXT) return ownText(USES[option]);
  const { name, path } = parseTextReference(value);
  if (path !== undefined) return { path, name, label: name ?? basename(path) };
  const text = name!; // a value without a name is a path
  return { path: await downloadText(option, text, output, signal), name, label: text };
}

/** Returns the URL of a file on the public hub, for a person who downloads it. */
function datasetUrl({ repo, commit, path }: DatasetFile): string {
  return `https://huggingface.co/datasets/${repo}/resolve/${commit}/${path}`;
}

async function downloadText(
  option: TextOption,
  name: TextName,
  output: Output,
  signal: AbortSignal,
): Promise<string> {
  const { repo, commit, files } = NAMED_TEXTS[name],
    file: DatasetFile = { repo, commit, path: files[USES[option]] };
  const { resolveDatasetFile } = await import("../../model/hub/dataset_file.ts"); // only texts of the hub need its client
  try {
    return await useHub(
      output,
      signal,
      (options) => resolveDatasetFile(`option --${option} ${name}`, file, options),
    );
  } catch (error) {
    if (!(error instanceof HubUnreachable || error instanceof ModelError)) throw error;
    const advice = `Or download ${datasetUrl(file)} elsewhere, and give the file by --${option} ${name}=FILE`;
    error.message = `${error.message}. ${advice}`;
    throw error;
  }
}

/** How a text is cut into windows. */
export interface EvaluationWindows {
  /** Tokens per window. */
  readonly seqlen: number;
  /** The number of windows. Defaults to all complete windows. */
  readonly windows?: number;
}

/** Returns the token ids of a text that has enough of them. @throws {ModelError} if the text is malformed or too short */
export async function readEvaluationText(
  tokenizer: Tokenizer,
  { name, path }: TextFile,
  { seqlen, windows }: EvaluationWindows,
  fs: FileSystem,
): Promise<Uint32Array> {
  const tokens = name === undefined
    ? await readTokens(tokenizer, path, fs)
    : await namedEvaluationTokens(tokenizer, name, path, seqlen, fs);
  try {
    countWindows(tokens.length, seqlen, windows);
    return tokens;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const shorter = windows === undefined ? "--seqlen" : "--windows or --seqlen";
    throw new ModelError(`${path}: ${error.message}; lower ${shorter}, or take a longer text`, {
      cause: error,
    });
  }
}
