/**
 * Tests the kernels that choose the kept entries of a whole matrix or of n:m groups, in comparison with
 * sorting. The matrices have ties, forced entries, and tiles whose columns do not start at whole mask words.
 */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import {
  chooseEntries,
  chooseInGroups,
  chooseInGroupsCase,
  countScoreTies,
  scoreHistogram,
} from "../../../src/device/kernels/selection/choose.ts";
import {
  RADIX_BINS,
  RADIX_LEVELS,
  rankTies,
  selectDigit,
} from "../../../src/device/kernels/selection/select.ts";
import { referenceSelection } from "../../reference/selection.ts";
import { eachBackend } from "../../support/backends.ts";
import { downloadU32, upload } from "../../support/device.ts";
import { testKernel } from "../../support/kernel_cases.ts";
import { packForced } from "../../support/layers.ts";
import { normals, uniform } from "../../../scripts/fixtures/random.ts";

/** A matrix that is cut into tiles of at most `edge` rows and columns. */
interface TiledValues {
  readonly rows: number;
  readonly cols: number;
  readonly edge: number;
  readonly values: Float32Array;
}

/**
 * Uploads the tiles of a matrix, row by row. The leading dimension of each tile is 3 more than its number of
 * columns.
 */
function makeTiles(backend: Backend, { rows, cols, edge, values }: TiledValues) {
  const tiles = [];
  for (let row0 = 0; row0 < rows; row0 += edge) {
    for (let first = 0; first < cols; first += edge) {
      const height = Math.min(edge, rows - row0), width = Math.min(edge, cols - first), ld = width + 3;
      const data = new Float32Array(height * ld);
      for (let r = 0; r < height; r++) {
        for (let c = 0; c < width; c++) data[r * ld + c] = values[(row0 + r) * cols + first + c];
      }
      tiles.push({ x: upload(backend, data), params: { rows: height, cols: width, ld, row0, first } });
    }
  }
  return tiles;
}

/** Returns random values. If `levels` is given, many of them have equal magnitudes. */
function makeValues(count: number, seed: number, levels?: number): Float32Array {
  return normals(count, seed).map((value) => levels ? Math.round(value * levels) / levels : value);
}

const MATRICES = [[1, 1, 8], [7, 45, 45], [33, 127, 50], [64, 172, 64], [5, 2100, 2100], [130, 9, 37]];

eachBackend("choose_entries", (backend) => {
  for (const [rows, cols, edge] of MATRICES) {
    for (const levels of [undefined, 4]) {
      it(`keeps the largest scores of ${rows}×${cols} in tiles of ${edge}${levels ? ", with many ties" : ""}`, async () => {
        const values = makeValues(rows * cols, rows, levels), next = uniform(cols);
        const scale = Float32Array.from({ length: cols }, (_, c) => 1 + c % 3);
        const forcedFlags = Uint8Array.from(values, () => Number(next() < 0.1));
        const tiles = makeTiles(backend(), { rows, cols, edge, values });
        const words = Math.ceil(cols / 32);
        const shared = {
          scale: upload(backend(), scale),
          forced: upload(backend(), packForced(forcedFlags, rows, cols)),
          selection: upload(backend(), new Uint32Array(2 + rows)),
          histogram: upload(backend(), new Uint32Array(RADIX_BINS)),
          mask: upload(backend(), new Uint32Array(rows * words)),
        };
        const { scale: s, forced, selection, histogram, mask } = shared;
        const forcedCount = forcedFlags.reduce((sum, flag) => sum + flag, 0);
        const k = Math.max(forcedCount, Math.round(0.6 * rows * cols));
        for (let level = 0; level < RADIX_LEVELS; level++) {
          for (const { x, params } of tiles) {
            const buffers = { x, scale: s, forced, selection, histogram };
            backend().dispatch(scoreHistogram, buffers, { ...params, words, has_forced: 1, level });
          }
          backend().dispatch(selectDigit, { histogram, selection }, { level, k });
        }
        for (const { x, params } of tiles) {
          backend().dispatch(countScoreTies, { x, scale: s, forced, selection }, {
            ...params,
            words,
            has_forced: 1,
          });
        }
        backend().dispatch(rankTies, { selection }, { rows });
        for (const { x, params } of tiles) {
          const buffers = { x, scale: s, forced, selection, mask };
          backend().dispatch(chooseEntries, buffers, { ...params, words, has_forced: 1 });
        }
        const scores = Float64Array.from(
          values,
          (value, i) => Math.abs(Math.fround(value * scale[i % cols])),
        );
        const pruned = referenceSelection(scores, k, (i) => forcedFlags[i] === 1);
        const expected = packForced(pruned.map((flag) => 1 - flag), rows, cols);
        deepStrictEqual(await downloadU32(backend(), mask), expected);
        for (const { x } of tiles) x.destroy();
        for (const buffer of Object.values(shared)) buffer.destroy();
      });
    }
  }
});

testKernel(
  chooseInGroups,
  { tolerance: 0 },
  ...[[2, 4], [4, 8], [1, 3], [64, 128]].map(([keep, group]) =>
    [
      `keeps the ${keep} largest scores of every ${group} columns, and proportionally many of a shorter last group`,
      ...[[7, 45], [33, 127], [3, 700]].map(([rows, cols]) => chooseInGroupsCase(rows, cols, keep, group, 1)),
    ] as const
  ),
);
