/** Reads a calibration text and cuts it into windows. */

import type { Tokenizer } from "@huggingface/tokenizers";
import { calibrationWindows } from "../layer/calibration/windows.ts";
import type { FileSystem } from "../base/files/file_system.ts";
import { ModelError } from "../base/files/file_error.ts";
import { readTokens } from "../model/tokenizer/tokenizer.ts";
import type { TextFile } from "./texts/named_texts.ts";
import { namedCalibrationWindows } from "./texts/read_named_text.ts";

/** The default seed of the windows of a named text. It is that of the code published with SparseGPT. */
export const NAMED_SEED = 0;

export interface CalibrationText {
  readonly calibration: TextFile;
  readonly samples: number;
  readonly seqlen: number;
  /**
   * The seed that chooses the windows at random. Without a seed, the windows of a file are evenly spaced, and those of a named text are
   * chosen with {@link NAMED_SEED}.
   */
  readonly seed?: number;
}

/**
 * Returns the windows as token ids, `samples` arrays of `seqlen` tokens each.
 * @throws {ModelError} if the text is malformed or too short
 */
export async function readCalibration(
  tokenizer: Tokenizer,
  { calibration, samples, seqlen, seed }: CalibrationText,
  fs: FileSystem,
): Promise<Uint32Array[]> {
  const { name, path } = calibration;
  try {
    if (name !== undefined) {
      const windows = { samples, seqlen, seed: seed ?? NAMED_SEED };
      return await namedCalibrationWindows(tokenizer, name, path, windows, fs);
    }
    const tokens = await readTokens(tokenizer, path, fs);
    return calibrationWindows(tokens, { windows: samples, seqlen, seed });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ModelError(`${path}: ${error.message}`, { cause: error });
  }
}
