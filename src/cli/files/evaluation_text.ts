/** Reads the texts on which perplexities are measured. */

import type { Tokenizer } from "@huggingface/tokenizers";
import { countWindows } from "../../evaluation/perplexity.ts";
import type { FileSystem } from "../../files/file_system.ts";
import { ModelError } from "../../files/model_error.ts";
import { readTokens } from "../../models/tokenizer/tokenizer.ts";
import type { TextFile } from "../../prune/texts/named_texts.ts";
import { namedEvaluationTokens } from "../../prune/texts/read_named_text.ts";

/** How a text is cut into windows. */
export interface EvaluationWindows {
  /** Tokens per window. */
  readonly seqlen: number;
  /** The number of windows. Defaults to all complete windows. */
  readonly windows?: number;
}

/**
 * Returns the token ids of a text that has enough of them.
 * @throws {ModelError} if the text is malformed or too short
 */
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
    throw new ModelError(`${path}: ${error.message}`, { cause: error });
  }
}
