/** Reads a calibration text and cuts it into windows. */

import type { Tokenizer } from "@huggingface/tokenizers";
import { calibrationWindows } from "../calibration/windows.ts";
import type { FileSystem } from "../files/file_system.ts";
import { ModelError } from "../files/model_error.ts";
import { readTokens } from "../models/tokenizer/tokenizer.ts";

/** A calibration text, and how it is cut into windows. */
export interface CalibrationText {
  /** The path of the text, `.txt` or `.jsonl`. */
  readonly calibration: string;
  /** The number of windows. */
  readonly samples: number;
  /** The number of tokens per window. */
  readonly seqlen: number;
  /**
   * The seed that chooses the starts of the windows at random. Without a seed, the windows are evenly spaced.
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
  const tokens = await readTokens(tokenizer, calibration, fs);
  try {
    return calibrationWindows(tokens, { windows: samples, seqlen, seed });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ModelError(`${calibration}: ${error.message}`, { cause: error });
  }
}
