/**
 * Tests of the kernels that run before and after quantize_block, in comparison with naive float64 code: the
 * extremes of rows that extend over several tiles, the grids of given extremes, and the packed codes of
 * rounded weights.
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { encodeCodes, fitGrids, rowExtremes } from "../../src/kernels/quantization.ts";
import { codeOf, gridOf } from "../reference/quantization.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

eachBackend("row_extremes", (backend) => {
  for (const [rows, cols] of [[1, 1], [3, 63], [70, 64], [5, 131], [9, 1000]]) {
    it(`finds the minimum and the maximum of 0 and each row of two ${rows}×${cols} tiles`, async () => {
      const ld = cols + 3, row0 = 2, tiles = [1, 2].map((seed) => normals(rows * ld, seed));
      // Row 0 has only positive weights, and row 1 only negative ones. The padding is larger than all weights.
      for (const tile of tiles) {
        tile.forEach((weight, i) => {
          const r = Math.floor(i / ld);
          tile[i] = i % ld >= cols ? 1000 : r === 0 ? Math.abs(weight) : r === 1 ? -Math.abs(weight) : weight;
        });
      }
      const lows = upload(backend(), new Float32Array(row0 + rows + 1));
      const highs = upload(backend(), new Float32Array(row0 + rows + 1));
      for (const tile of tiles) {
        const w = upload(backend(), tile);
        backend().dispatch(rowExtremes, { w, lows, highs }, { rows, cols, ld, row0 });
        w.destroy();
      }
      const extremes = [await downloadF32(backend(), lows), await downloadF32(backend(), highs)];
      const expected = [[0, 0], [0, 0]];
      for (let r = 0; r < rows; r++) {
        const row = tiles.flatMap((tile) => [...tile.subarray(r * ld, r * ld + cols)]);
        expected[0].push(Math.min(0, ...row));
        expected[1].push(Math.max(0, ...row));
      }
      for (const side of expected) side.push(0);
      deepStrictEqual(extremes.map((values) => [...values]), expected);
      lows.destroy();
      highs.destroy();
    });
  }
});

eachBackend("fit_grids", (backend) => {
  for (const symmetric of [false, true]) {
    for (const bits of [2, 3, 4, 8]) {
      it(`computes the ${symmetric ? "symmetric" : "asymmetric"} ${bits}-bit grids of given extremes`, async () => {
        const count = 200, noise = normals(2 * count, bits);
        const low = Float32Array.from({ length: count }, (_, i) => i % 7 ? -Math.abs(noise[i]) : 0);
        const high = Float32Array.from({ length: count }, (_, i) => i % 5 ? Math.abs(noise[count + i]) : 0);
        // The last scale would be too small for a normal f32, so the grid is the same as for weights that are all 0.
        low[count - 1] = -1e-39;
        high[count - 1] = 1e-39;
        const range = low.map((_, i) => [1, 0.75, 0.5][i % 3]);
        const ranges = upload(backend(), range),
          scales = upload(backend(), low),
          zeros = upload(backend(), high);
        backend().dispatch(fitGrids, { ranges, scales, zeros }, {
          count: count,
          max_code: 2 ** bits - 1,
          symmetric: symmetric ? 1 : 0,
        });
        const found = await downloadF32(backend(), zeros);
        const expected = Array.from(low, (value, i) => {
          const extremes = i === count - 1 ? [] : [range[i] * value, range[i] * high[i]];
          return gridOf(extremes, bits, symmetric, found[i]);
        });
        const foundScales = await downloadF32(backend(), scales);
        assertClose(foundScales.map((scale, i) => scale / expected[i].scale), low.map(() => 1), 1e-6);
        deepStrictEqual([...found], expected.map(({ zero }) => zero));
        for (const buffer of [ranges, scales, zeros]) buffer.destroy();
      });
    }
  }
});

eachBackend("encode_codes", (backend) => {
  for (const [rows, cols, groupSize] of [[1, 1, 0], [3, 7, 0], [5, 33, 8], [20, 64, 32], [300, 251, 25]]) {
    it(`packs the codes of ${rows}×${cols} weights in grids of ${groupSize || "all"} columns`, async () => {
      for (const bits of [2, 4, 8]) {
        const grids = groupSize ? Math.ceil(cols / groupSize) : 1, row0 = 2, offset = 3;
        const noise = normals(rows * cols, cols);
        const grid = Array.from({ length: (row0 + rows) * grids }, (_, g) => ({
          scale: Math.fround(0.013 * (g + 1)),
          zero: (5 * g) % 2 ** bits,
        }));
        const gridOfEntry = (i: number) =>
          grid[(row0 + Math.floor(i / cols)) * grids + (groupSize ? Math.floor((i % cols) / groupSize) : 0)];
        const codes = Uint8Array.from(noise, (weight, i) => codeOf(weight, gridOfEntry(i), bits));
        const values = Float32Array.from({ length: offset + codes.length }, (_, at) => {
          if (at < offset) return 9;
          const { scale, zero } = gridOfEntry(at - offset);
          return (codes[at - offset] - zero) * scale;
        });
        const words = Math.ceil(codes.length / 4);
        const buffers = {
          q: upload(backend(), values),
          scales: upload(backend(), Float32Array.from(grid, ({ scale }) => scale)),
          zeros: upload(backend(), Float32Array.from(grid, ({ zero }) => zero)),
          codes: upload(backend(), new Uint32Array(words + 1).fill(0xffffffff)),
        };
        const params = { count: codes.length, cols, q_offset: offset, row0, grid_size: groupSize, grids };
        backend().dispatch(encodeCodes, buffers, params);
        const bytes = await backend().read(buffers.codes, 0, 4 * words + 4);
        deepStrictEqual(bytes.subarray(0, codes.length), codes);
        bytes.subarray(codes.length, 4 * words).forEach((byte) => strictEqual(byte, 0));
        bytes.subarray(4 * words).forEach((byte) => strictEqual(byte, 0xff));
        for (const buffer of Object.values(buffers)) buffer.destroy();
      }
    });
  }
});
