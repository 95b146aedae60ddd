/** Tests the selection of the k smallest scores of one block by four dispatches, in comparison with sorting. */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend, DeviceBuffer } from "../../src/backend/backend.ts";
import { DIGITS_LENGTH, finishSelection, refineHistogram } from "../../src/kernels/selection/select_block.ts";
import { updateBlock } from "../../src/kernels/selection/update_block.ts";
import { referenceSelection } from "../reference/selection.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadU32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";
import { chosenEntries, packBits, SCORE_DISTRIBUTIONS } from "../support/selection.ts";

type Operands = Readonly<Record<"w" | "scale" | "forced" | "keys" | "digits", DeviceBuffer>>;
type Params = Readonly<Record<"rows" | "cols" | "first" | "words" | "has_forced", number>>;

/** The parameters of `update_block` for a whole matrix without an update. */
const NO_UPDATE = { depth: 0, row0: 0, a_offset: 0, lda: 0, u_offset: 0, ldu: 0, w_offset: 0 };

/**
 * Selects the `k` entries with the smallest scores, and returns 1 for each of them and 0 for the others. `digits` has the state of an
 * earlier selection, or zeros.
 */
async function selectInBlock(backend: Backend, operands: Operands, params: Params, k: number) {
  const { keys, digits } = operands, { rows, cols } = params;
  const selection = upload(backend, new Uint32Array(2 + rows).fill(0xdeadbeef));
  const work = backend.createBuffer("work", 4 * rows * cols);
  const buffers = { ...operands, a: operands.w, u: operands.w, work };
  backend.dispatch(updateBlock, buffers, { ...params, ...NO_UPDATE, ldw: cols, ldwork: cols });
  for (const level of [1, 2]) {
    backend.dispatch(refineHistogram, { keys, digits }, { count: rows * cols, level, k });
  }
  backend.dispatch(finishSelection, { keys, digits, selection }, { rows, cols });
  const mask = chosenEntries(await downloadU32(backend, keys), await downloadU32(backend, selection), cols);
  selection.destroy();
  work.destroy();
  return mask;
}

eachBackend("the selection in one block", (backend) => {
  for (const [name, distribution] of Object.entries(SCORE_DISTRIBUTIONS)) {
    it(`chooses exactly the k smallest of ${name}`, async () => {
      for (const [rows, cols] of [[1, 1], [7, 31], [129, 33], [64, 128], [300, 300]]) {
        const weights = normals(rows * cols, cols).map(distribution);
        const operands = {
          w: upload(backend(), weights),
          scale: upload(backend(), new Float32Array(cols).fill(1)),
          forced: upload(backend(), new Uint32Array(1)),
          keys: backend().createBuffer("keys", 4 * rows * cols),
          digits: upload(backend(), new Uint32Array(DIGITS_LENGTH)),
        };
        const params = { rows, cols, first: 0, words: 1, has_forced: 0 };
        const scores = weights.map(Math.abs), total = rows * cols;
        for (const k of new Set([0, 1, total >> 1, (total >> 1) + 1, total - 1, total])) {
          const mask = await selectInBlock(backend(), operands, params, k);
          deepStrictEqual(mask, referenceSelection(scores, k), `k = ${k} of ${rows}×${cols}`);
        }
        for (const buffer of Object.values(operands)) buffer.destroy();
      }
    });
  }

  it("chooses forced entries before all others, even before zeros", async () => {
    const rows = 40, cols = 50, first = 17, words = 3;
    const weights = normals(rows * cols, 8).map((x, i) => i % 5 ? x : 0);
    const isForced = (r: number, c: number) => (r + c) % 3 === 0;
    const operands = {
      w: upload(backend(), weights),
      scale: upload(backend(), new Float32Array(first + cols).fill(1)),
      forced: upload(backend(), packBits(rows, words, isForced)),
      keys: backend().createBuffer("keys", 4 * rows * cols),
      digits: upload(backend(), new Uint32Array(DIGITS_LENGTH)),
    };
    const params = { rows, cols, first, words, has_forced: 1 };
    const forcedAt = (i: number) => isForced(Math.floor(i / cols), first + i % cols);
    const forcedCount = weights.filter((_, i) => forcedAt(i)).length;
    for (const k of [forcedCount, forcedCount + 1, rows * cols - 1]) {
      const mask = await selectInBlock(backend(), operands, params, k);
      deepStrictEqual(mask, referenceSelection(weights.map(Math.abs), k, forcedAt), `k = ${k}`);
    }
    for (const buffer of Object.values(operands)) buffer.destroy();
  });
});
