/** Tests of update_block: the updated weights in comparison with float64, and their keys and first digits. */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { DIGITS_LENGTH } from "../../src/kernels/selection/select_block.ts";
import { updateBlock } from "../../src/kernels/selection/update_block.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, downloadU32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";
import { packBits } from "../support/selection.ts";

/** The block starts at row ROW and column FIRST of a matrix. SENTINEL fills the elements around it. */
const ROW = 3, FIRST = 40, WORDS = 10, SENTINEL = 77;

const isForced = (r: number, c: number) => (7 * r + c) % 5 === 0;

/** The key of a weight (`scoreKeys` in src/kernels/selection/select.ts). */
function keyOf(weight: number, scale: number): number {
  return new Uint32Array(Float32Array.of(Math.abs(Math.fround(weight * scale))).buffer)[0] + 1;
}

/** The size of a block. `padding` elements separate its rows, so rows are aligned to quads only for some sizes. */
interface Size {
  readonly rows: number;
  readonly cols: number;
  readonly depth: number;
  readonly padding: number;
  readonly has_forced?: number;
}

eachBackend("update_block", (backend) => {
  async function check({ rows, cols, depth, padding, has_forced = 0 }: Size): Promise<void> {
    const lda = depth + padding, ldu = cols + padding, ldw = cols + padding + 1, ldwork = cols + 2;
    const a_offset = padding, u_offset = 2 * padding, w_offset = 5;
    const a = normals(a_offset + rows * lda + 1, cols), w = normals(w_offset + rows * ldw, rows);
    const u = normals(u_offset + cols * ldu + 1, 3).map((value, i) => {
      const at = i - u_offset;
      return at >= 0 && Math.floor(at / ldu) > at % ldu ? 0 : value;
    });
    const scale = normals(FIRST + cols, 4).map(Math.abs);
    const height = ROW + rows + 1;
    const buffers = {
      a: upload(backend(), a),
      u: upload(backend(), u),
      w: upload(backend(), w),
      scale: upload(backend(), scale),
      forced: upload(backend(), packBits(height, WORDS, isForced)),
      work: upload(backend(), new Float32Array(height * ldwork).fill(SENTINEL)),
      keys: upload(backend(), new Uint32Array(height * cols).fill(SENTINEL)),
      digits: upload(backend(), new Uint32Array(DIGITS_LENGTH).fill(1)),
    };
    backend().dispatch(updateBlock, buffers, {
      ...{ rows, cols, depth, row0: ROW, a_offset, lda, u_offset, ldu, w_offset, ldw, ldwork },
      ...{ first: FIRST, words: WORDS, has_forced },
    });
    const work = await downloadF32(backend(), buffers.work),
      keys = await downloadU32(backend(), buffers.keys);
    const digits = await downloadU32(backend(), buffers.digits);
    for (const buffer of Object.values(buffers)) buffer.destroy();

    const updated: number[] = [], expected: number[] = [];
    const counts = new Uint32Array(DIGITS_LENGTH).fill(1);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        let sum = w[w_offset + r * ldw + c];
        for (let p = 0; p < depth; p++) sum += a[a_offset + r * lda + p] * u[u_offset + p * ldu + c];
        expected.push(sum);
        const row = ROW + r, weight = work[row * ldwork + c];
        updated.push(weight);
        const key = has_forced && isForced(row, FIRST + c) ? 0 : keyOf(weight, scale[FIRST + c]);
        strictEqual(keys[row * cols + c], key, `the key of element (${r}, ${c})`);
        counts[key >>> 21]++;
      }
    }
    assertClose(updated, expected, 1e-6);
    deepStrictEqual(digits, counts);
    work.forEach((value, at) => {
      const r = Math.floor(at / ldwork) - ROW, c = at % ldwork;
      if (r < 0 || r >= rows || c >= cols) strictEqual(value, SENTINEL, `element (${r}, ${c}) of the block`);
    });
    const inside = (at: number) => at >= ROW * cols && at < (ROW + rows) * cols;
    keys.forEach((key, at) => inside(at) || strictEqual(key, SENTINEL, `key ${at}`));
  }

  for (const edge of [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 127, 128, 129, 130]) {
    it(`updates and scores a block of ${edge} columns and ${edge} rows`, async () => {
      for (const padding of [0, 1, 4]) await check({ rows: edge, cols: edge, depth: edge, padding });
    });
  }

  it("updates and scores a block that is far taller than wide, and one of 256 columns", async () => {
    await check({ rows: 700, cols: 33, depth: 33, padding: 3 });
    await check({ rows: 70, cols: 256, depth: 256, padding: 0 });
  });

  it("gives forced entries the key 0", async () => {
    for (const depth of [0, 130]) await check({ rows: 71, cols: 130, depth, padding: 2, has_forced: 1 });
  });

  it("copies and scores the weights if there are no earlier blocks", async () => {
    for (const cols of [1, 66, 128]) await check({ rows: 67, cols, depth: 0, padding: 1 });
  });
});
