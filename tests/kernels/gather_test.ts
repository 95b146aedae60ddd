/**
 * Tests of the kernels that permute columns, in comparison with plain array code. The operands are parts of larger
 * matrices. Elements that a dispatch must not write are filled with a recognisable value.
 */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { gatherBits, gatherColumns, gatherSymmetric } from "../../src/kernels/transfer/gather.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadU32, upload } from "../support/device.ts";
import { uniform } from "../support/random.ts";

/** The value of elements that are not written. */
const UNTOUCHED = 77;

/** A random permutation of 0 … n−1. */
function permutation(n: number, seed: number): Uint32Array<ArrayBuffer> {
  const next = uniform(seed), keys = Array.from({ length: n }, next);
  return Uint32Array.from(keys, (_, i) => i).sort((a, b) => keys[a] - keys[b]);
}

/** Returns random words. As f32, some of them are NaN, because any bits can occur. */
function words(count: number, seed: number): Uint32Array<ArrayBuffer> {
  const next = uniform(seed);
  return Uint32Array.from({ length: count }, () => next() * 2 ** 32);
}

eachBackend("gather_columns", (backend) => {
  for (const [rows, cols, sourceCols] of [[1, 1, 1], [3, 7, 5], [33, 31, 64], [40, 300, 200]]) {
    it(`copies those of ${rows}×${cols} elements whose source is in a tile of ${sourceCols} columns`, async () => {
      const n = cols + sourceCols + 4, first = 3, sourceFirst = 2, ld = cols + 2, sourceLd = sourceCols + 3;
      const order = permutation(n, cols), source = words(rows * sourceLd, rows);
      const buffers = {
        source: upload(backend(), source),
        order: upload(backend(), order),
        target: upload(backend(), new Uint32Array(rows * ld).fill(UNTOUCHED)),
      };
      backend().dispatch(gatherColumns, buffers, {
        rows,
        cols,
        target_ld: ld,
        first,
        source_ld: sourceLd,
        source_first: sourceFirst,
        source_cols: sourceCols,
      });
      const expected = Array.from({ length: rows * ld }, (_, at) => {
        const r = Math.floor(at / ld), c = at % ld, s = order[first + c] - sourceFirst;
        return c < cols && s >= 0 && s < sourceCols ? source[r * sourceLd + s] : UNTOUCHED;
      });
      deepStrictEqual([...await downloadU32(backend(), buffers.target)], expected);
      for (const buffer of Object.values(buffers)) buffer.destroy();
    });
  }
});

eachBackend("gather_symmetric", (backend) => {
  // Row and column of the first element, and the number of rows and columns, of the target tile and the source tile.
  for (
    const [to, from] of [
      [[0, 0, 1, 1], [0, 0, 1, 1]],
      [[0, 32, 32, 9], [0, 0, 32, 32]],
      [[32, 32, 9, 9], [0, 32, 32, 9]],
      [[0, 0, 32, 32], [0, 32, 32, 9]],
      [[5, 20, 300, 200], [5, 20, 300, 200]],
    ]
  ) {
    it(`copies the elements of target tile ${to.join(", ")} whose source is in tile ${from.join(", ")}`, async () => {
      const [row0, first, rows, cols] = to, [sourceRow0, sourceFirst, sourceRows, sourceCols] = from;
      const n = Math.max(row0 + rows, first + cols, sourceRow0 + sourceRows, sourceFirst + sourceCols);
      const order = permutation(n, n), ld = cols + 1, sourceLd = sourceCols + 2;
      const source = words(sourceRows * sourceLd, n);
      const buffers = {
        source: upload(backend(), source),
        order: upload(backend(), order),
        target: upload(backend(), new Uint32Array(rows * ld).fill(UNTOUCHED)),
      };
      backend().dispatch(gatherSymmetric, buffers, {
        rows,
        cols,
        target_ld: ld,
        row0,
        first,
        source_ld: sourceLd,
        source_row0: sourceRow0,
        source_rows: sourceRows,
        source_first: sourceFirst,
        source_cols: sourceCols,
      });
      const expected = Array.from({ length: rows * ld }, (_, at) => {
        const c = at % ld;
        if (c >= cols) return UNTOUCHED;
        const i = order[row0 + Math.floor(at / ld)], j = order[first + c];
        const a = Math.min(i, j) - sourceRow0, b = Math.max(i, j) - sourceFirst;
        return a >= 0 && a < sourceRows && b >= 0 && b < sourceCols ? source[a * sourceLd + b] : UNTOUCHED;
      });
      deepStrictEqual([...await downloadU32(backend(), buffers.target)], expected);
      for (const buffer of Object.values(buffers)) buffer.destroy();
    });
  }
});

eachBackend("gather_bits", (backend) => {
  for (const [rows, cols] of [[1, 1], [3, 31], [5, 32], [70, 33], [9, 300]]) {
    it(`permutes the bits of ${rows} rows of ${cols} bits, and clears the padding`, async () => {
      const perRow = Math.ceil(cols / 32),
        order = permutation(cols, cols),
        source = words(rows * perRow, rows);
      const buffers = {
        source: upload(backend(), source),
        order: upload(backend(), order),
        target: upload(backend(), new Uint32Array(rows * perRow).fill(UNTOUCHED)),
      };
      backend().dispatch(gatherBits, buffers, { rows, cols, words: perRow });
      const expected = new Uint32Array(rows * perRow);
      for (let r = 0; r < rows; r++) {
        order.forEach((s, c) => {
          const bit = (source[r * perRow + (s >> 5)] >>> (s & 31)) & 1;
          expected[r * perRow + (c >> 5)] |= bit << (c & 31);
        });
      }
      deepStrictEqual(await downloadU32(backend(), buffers.target), expected);
      for (const buffer of Object.values(buffers)) buffer.destroy();
    });
  }
});
