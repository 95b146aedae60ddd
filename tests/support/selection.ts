/** Inputs for the kernels that select entries, and the rule by which their results choose entries. */

import { it } from "@std/testing/bdd";
import type { Backend, DeviceBuffer } from "../../src/device/backend.ts";
import { DIGITS_LENGTH } from "../../src/device/kernels/selection/select_block.ts";
import { referenceSelection } from "../reference/selection.ts";
import { assertSame } from "./assert_same.ts";
import { eachBackend } from "./backends.ts";
import { upload } from "./device.ts";
import { normals } from "../../scripts/fixtures/random.ts";

/** Packs bits into `words` u32 words per row. The function `at` returns whether a bit is 1. */
function packBits(
  rows: number,
  words: number,
  at: (row: number, column: number) => boolean,
): Uint32Array<ArrayBuffer> {
  const packed = new Uint32Array(rows * words);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < words * 32; c++) if (at(r, c)) packed[r * words + (c >> 5)] |= 1 << (c & 31);
  }
  return packed;
}

/**
 * Returns 1 for each entry that a selection chooses, and 0 for the others. The rule is that of the kernel
 * `prune_block`: all keys below the threshold, and the first ties of each row.
 */
export function chosenEntries(
  keys: Uint32Array,
  [threshold, , ...remaining]: Uint32Array,
  cols: number,
): Uint8Array {
  return Uint8Array.from(keys, (key, i) => {
    if (key < threshold) return 1;
    const row = Math.floor(i / cols);
    return key === threshold && remaining[row] > 0 ? (remaining[row]--, 1) : 0;
  });
}

/** Distributions of scores that are difficult to select from. f32 represents all of the scores exactly. */
const SCORE_DISTRIBUTIONS: Readonly<Record<string, (random: number, index: number) => number>> = {
  "normal scores": (random) => random,
  "three distinct scores": (random) => Math.round(Math.min(2, Math.abs(random))),
  "scores that are all zero": () => 0,
  "scores that are all equal": () => -1.5,
  "ascending scores": (_, index) => index,
  "scores in one binade": (_, index) => 1 + (index * 7919 % 65536) * 2 ** -23,
};

/** The operands of a selection. The weights are (rows, cols). `digits` is 0 before the first selection. */
type SelectionOperands = Readonly<Record<"w" | "scale" | "forced" | "keys" | "digits", DeviceBuffer>>;
type SelectionParams = Readonly<Record<"rows" | "cols" | "first" | "words" | "has_forced", number>>;

/**
 * Declares the tests of a selection of the k smallest scores.
 * @param select returns 1 for each entry that is selected, and 0 for the others
 */
export function testSelection(
  name: string,
  select: (
    backend: Backend,
    operands: SelectionOperands,
    params: SelectionParams,
    k: number,
  ) => Promise<Uint8Array>,
): void {
  async function check(
    backend: Backend,
    weights: Float32Array<ArrayBuffer>,
    params: SelectionParams,
    counts: Iterable<number>,
    isForced?: (row: number, column: number) => boolean,
  ) {
    const { rows, cols, first, words } = params;
    const operands = {
      w: upload(backend, weights),
      scale: upload(backend, new Float32Array(first + cols).fill(1)),
      forced: upload(backend, packBits(rows, words, isForced ?? (() => false))),
      keys: backend.createBuffer("keys", 4 * rows * cols),
      digits: upload(backend, new Uint32Array(DIGITS_LENGTH)),
    };
    const forcedAt = isForced && ((i: number) => isForced(Math.floor(i / cols), first + i % cols));
    for (const k of counts) {
      const expected = referenceSelection(weights.map(Math.abs), k, forcedAt);
      assertSame(await select(backend, operands, params, k), expected, `k = ${k} of ${rows}×${cols}`);
    }
    for (const buffer of Object.values(operands)) buffer.destroy();
  }

  eachBackend(name, (backend) => {
    for (const [scores, distribution] of Object.entries(SCORE_DISTRIBUTIONS)) {
      it(`chooses exactly the k smallest of ${scores}`, async () => {
        for (const [rows, cols] of [[1, 1], [7, 31], [129, 33], [64, 128], [300, 300]]) {
          const total = rows * cols, counts = [0, 1, total >> 1, (total >> 1) + 1, total - 1, total];
          const params = { rows, cols, first: 0, words: 1, has_forced: 0 };
          await check(backend(), normals(total, cols).map(distribution), params, new Set(counts));
        }
      });
    }

    it("chooses forced entries before all others, even before zeros", async () => {
      const params = { rows: 40, cols: 50, first: 17, words: 3, has_forced: 1 };
      const weights = normals(2000, 8).map((x, i) => i % 5 ? x : 0);
      const isForced = (r: number, c: number) => (r + c) % 3 === 0;
      const forced = weights.filter((_, i) => isForced(Math.floor(i / 50), 17 + i % 50)).length;
      await check(backend(), weights, params, [forced, forced + 1, 1999], isForced);
    });
  });
}
