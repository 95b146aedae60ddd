/** Reads the calibration texts, and cuts them into windows that are fitted and windows that are held out. */

import type { Tokenizer } from "@huggingface/tokenizers";
import { calibrationWindows } from "../layer/calibration/windows.ts";
import type { FileSystem } from "../base/files/file_system.ts";
import { ModelError } from "../base/files/file_error.ts";
import { readTokens } from "../model/tokenizer/tokenizer.ts";
import { divideWindows, holdOut } from "./divide_windows.ts";
import type { SharedText, TextFile } from "./texts/named_texts.ts";
import { namedCalibrationWindows } from "./texts/read_named_text.ts";

/** The default seed of the windows of a named text, as in the code published with SparseGPT. */
export const NAMED_SEED = 0;

export interface CalibrationTexts {
  /** The texts, each with its share of the windows. */
  readonly calibration: readonly SharedText[];
  /** The number of windows of all texts. */
  readonly samples: number;
  readonly seqlen: number;
  /** The share of the windows that are held out, from 0 to 0.5. @default 0 */
  readonly validation?: number;
  /**
   * The seed that chooses the windows at random. Without a seed, the windows of a file are evenly spaced, and the windows of a named text are
   * chosen with {@link NAMED_SEED}.
   */
  readonly seed?: number;
}

/** The windows of a calibration, as arrays of `seqlen` token ids. */
export interface CalibrationWindows {
  /** The windows to which the weights are fitted. */
  readonly windows: Uint32Array[];
  /** The held-out windows, by which results are compared. */
  readonly validationWindows: Uint32Array[];
}

/**
 * Returns `samples` windows. Each text gives its share of the fitted windows and of the held-out ones, in the order of the texts.
 * @throws {ModelError} if a text is malformed or too short
 * @throws {RangeError} if there are fewer windows than texts
 */
export async function readCalibration(
  tokenizer: Tokenizer,
  { calibration, samples, seqlen, seed, validation = 0 }: CalibrationTexts,
  fs: FileSystem,
): Promise<CalibrationWindows> {
  const counts = divideWindows(samples, calibration.map(({ share }) => share));
  const windows: Uint32Array[] = [], validationWindows: Uint32Array[] = [];
  for (const [i, heldOut] of holdOut(counts, validation).entries()) {
    const all = await readWindows(tokenizer, calibration[i], { samples: counts[i], seqlen, seed }, fs);
    for (const [j, window] of all.entries()) (heldOut.has(j) ? validationWindows : windows).push(window);
  }
  return { windows, validationWindows };
}

/** Returns the seed as reports have it: null if the windows are evenly spaced. */
export function calibrationSeed(texts: readonly SharedText[], seed?: number): number | null {
  return seed ?? (texts.every(({ name }) => name !== undefined) ? NAMED_SEED : null);
}

/** Returns the names of the texts, with their shares if there are several. */
export function calibrationLabels(texts: readonly SharedText[]): string[] {
  return texts.map(({ label, share }) => texts.length === 1 ? label : `${label}=${share}`);
}

async function readWindows(
  tokenizer: Tokenizer,
  { name, path }: TextFile,
  { samples, seqlen, seed }: Pick<CalibrationTexts, "samples" | "seqlen" | "seed">,
  fs: FileSystem,
): Promise<Uint32Array[]> {
  try {
    if (name !== undefined) {
      const windows = { samples, seqlen, seed: seed ?? NAMED_SEED };
      return await namedCalibrationWindows(tokenizer, name, path, windows, fs);
    }
    const tokens = await readTokens(tokenizer, path, fs);
    return calibrationWindows(tokens, { windows: samples, seqlen, seed });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const advice = "lower --samples or --seqlen, or take a longer text";
    throw new ModelError(`${path}: ${error.message}; ${advice}`, { cause: error });
  }
}
