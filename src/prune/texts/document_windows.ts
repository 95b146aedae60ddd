/**
 * Chooses calibration windows from a file with many documents, as the code published with SparseGPT does: a random document that is longer
 * than a window, and in it a random window. The documents differ from the documents that the published code chooses, because Python's
 * generator of random numbers is another one, and because no document is chosen twice.
 */

import type { Tokenizer } from "@huggingface/tokenizers";
import { uniform } from "../../layer/calibration/windows.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { encodeText } from "../../model/tokenizer/tokenizer.ts";

export interface DocumentWindows {
  readonly samples: number;
  readonly seqlen: number;
  readonly seed: number;
}

/**
 * The number of candidates per window in the first pass over the file. About every twentieth document of C4 that has 2048 bytes also has
 * more than 2048 tokens.
 */
const CANDIDATES_PER_WINDOW = 32;

/** The factor by which the number of candidates grows if too few of them are long enough. */
const GROWTH = 4;

/** A line of the file with the random number that decides its place in the order. */
interface Candidate {
  readonly priority: number;
  readonly line: string;
}

/**
 * Returns `samples` windows, each from another document. Every document that has more than `seqlen` tokens is chosen with the same
 * probability. Only the candidates are in memory, never the whole file. If too few of them are long enough, the file is read again with
 * more candidates.
 * @param openLines opens the lines of the file, each of which is a document `{"text": …}`
 * @throws {ModelError} if too few documents are long enough, or if a line is malformed
 */
export async function documentWindows(
  openLines: () => AsyncIterable<Uint8Array>,
  tokenizer: Tokenizer,
  { samples, seqlen, seed }: DocumentWindows,
): Promise<Uint32Array[]> {
  for (let limit = CANDIDATES_PER_WINDOW * samples;; limit *= GROWTH) {
    const { candidates, isComplete } = await chooseCandidates(openLines(), {
      limit,
      leastBytes: seqlen,
      seed,
    });
    const random = uniform(seed + 1), windows: Uint32Array[] = [];
    for (const { line } of candidates) {
      const tokens = encodeText(tokenizer, line, "jsonl");
      if (tokens.length <= seqlen) continue;
      const start = Math.floor(random() * (tokens.length - seqlen));
      windows.push(tokens.slice(start, start + seqlen));
      if (windows.length === samples) return windows;
    }
    if (isComplete) {
      throw new ModelError(
        `has ${windows.length} documents with more than ${seqlen} tokens, but ${samples} windows need ${samples}`,
      );
    }
  }
}

/**
 * Returns the `limit` lines with the smallest random numbers in the order of these numbers, and whether they are all lines.
 * Lines of at most `leastBytes` bytes are left out, because a token has at least one byte.
 */
async function chooseCandidates(
  lines: AsyncIterable<Uint8Array>,
  { limit, leastBytes, seed }: { readonly limit: number; readonly leastBytes: number; readonly seed: number },
): Promise<{ readonly candidates: readonly Candidate[]; readonly isComplete: boolean }> {
  const random = uniform(seed), decoder = new TextDecoder();
  let chosen: Candidate[] = [], bound = 1, seen = 0;
  const shrink = () => {
    chosen = chosen.sort((a, b) => a.priority - b.priority).slice(0, limit);
    if (chosen.length === limit) bound = chosen[limit - 1].priority;
  };
  for await (const bytes of lines) {
    const priority = random();
    if (bytes.length <= leastBytes) continue;
    seen++;
    if (priority >= bound) continue;
    chosen.push({ priority, line: decoder.decode(bytes) });
    if (chosen.length >= 2 * limit) shrink();
  }
  shrink();
  return { candidates: chosen, isComplete: seen <= limit };
}
