/**
 * Tests of the radix select, which selects the k smallest scores. First each kernel is tested alone, and then
 * all kernels together in comparison with sorting, especially for tied scores.
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend, DeviceBuffer } from "../../src/backend/backend.ts";
import {
  countTies,
  keyHistogram,
  RADIX_BINS,
  RADIX_LEVELS,
  rankTies,
  scoreKeys,
  selectDigit,
} from "../../src/kernels/selection/select.ts";
import { referenceSelection } from "../reference/selection.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadU32, upload } from "../support/device.ts";
import { chosenEntries, packBits, SCORE_DISTRIBUTIONS } from "../support/selection.ts";
import { normals, uniform } from "../support/random.ts";

/** Random keys, uniform over all u32. */
function randomKeys(count: number, seed: number): Uint32Array<ArrayBuffer> {
  const next = uniform(seed);
  return Uint32Array.from({ length: count }, () => next() * 2 ** 32);
}

/** Queues the selection of the `k` smallest of `keys`, (rows, cols), and returns the buffer `selection`. */
function select(backend: Backend, keys: DeviceBuffer, rows: number, cols: number, k: number): DeviceBuffer {
  // The contents from an earlier selection must not matter.
  const selection = upload(backend, new Uint32Array(2 + rows).fill(0xdeadbeef));
  const histogram = backend.createBuffer("histogram", 4 * RADIX_BINS);
  backend.clear(histogram);
  for (let level = 0; level < RADIX_LEVELS; level++) {
    backend.dispatch(keyHistogram, { keys, selection, histogram }, { count: rows * cols, level });
    backend.dispatch(selectDigit, { histogram, selection }, { level, k });
  }
  backend.dispatch(countTies, { keys, selection }, { rows, cols, accumulate: 0 });
  backend.dispatch(rankTies, { selection }, { rows });
  histogram.destroy();
  return selection;
}

eachBackend("score_keys", (backend) => {
  for (const [rows, cols, first] of [[1, 1, 0], [7, 31, 5], [33, 128, 128], [65, 129, 31], [3, 40001, 0]]) {
    for (const hasForced of [0, 1]) {
      it(`computes the keys of ${rows}×${cols} entries from column ${first}, ${hasForced ? "some" : "none"} of them forced`, async () => {
        const ld = cols + 3, words = Math.ceil((first + cols) / 32) + 1;
        const weights = normals(rows * ld, rows), scales = normals(first + cols, cols).map(Math.abs);
        weights[0] = -0;
        const isForced = (r: number, c: number) => (r * 7 + c * 5) % 11 === 0;
        const buffers = {
          work: upload(backend(), weights),
          scale: upload(backend(), scales),
          forced: upload(backend(), packBits(rows, words, isForced)),
          keys: upload(backend(), new Uint32Array(rows * cols)),
        };
        const params = { rows, cols, ld, first, words, has_forced: hasForced };
        backend().dispatch(scoreKeys, buffers, params);
        const expected = Uint32Array.from({ length: rows * cols }, (_, i) => {
          const r = Math.floor(i / cols), c = i % cols;
          const score = Float32Array.of(Math.abs(weights[r * ld + c] * scales[first + c]));
          return hasForced && isForced(r, first + c) ? 0 : new Uint32Array(score.buffer)[0] + 1;
        });
        deepStrictEqual(await downloadU32(backend(), buffers.keys), expected);
        for (const buffer of Object.values(buffers)) buffer.destroy();
      });
    }
  }
});

eachBackend("key_histogram", (backend) => {
  for (const count of [1, 7, 255, 4097, 200_003]) {
    it(`adds ${count} keys to the histogram at every level`, async () => {
      const keys = randomKeys(count, count);
      const threshold = keys[count >> 1];
      // Some keys have the same first one, two or three bytes as the threshold.
      for (let i = 0; i < count; i++) {
        const shared = i % 4;
        if (shared) keys[i] = threshold ^ (keys[i] >>> (8 * shared));
      }
      const buffers = {
        keys: upload(backend(), keys),
        selection: upload(backend(), Uint32Array.of(threshold, 1)),
      };
      for (let level = 0; level < RADIX_LEVELS; level++) {
        const before = Uint32Array.from({ length: RADIX_BINS }, (_, d) => d);
        const histogram = upload(backend(), before);
        backend().dispatch(keyHistogram, { ...buffers, histogram }, { count, level });
        const expected = before.slice(), digitValue = 2 ** (24 - 8 * level);
        for (const key of keys) {
          const same = Math.floor(key / digitValue / 256) === Math.floor(threshold / digitValue / 256);
          if (same) expected[Math.floor(key / digitValue) % 256]++;
        }
        deepStrictEqual(await downloadU32(backend(), histogram), expected, `level ${level}`);
        histogram.destroy();
      }
      buffers.keys.destroy();
      buffers.selection.destroy();
    });
  }
});

eachBackend("select_digit", (backend) => {
  async function digit(counts: number[], [threshold, remaining]: number[], level: number, k: number) {
    const histogram = upload(backend(), Uint32Array.from({ length: RADIX_BINS }, (_, d) => counts[d] ?? 0));
    const selection = upload(backend(), Uint32Array.of(threshold, remaining));
    backend().dispatch(selectDigit, { histogram, selection }, { level, k });
    const cleared = await downloadU32(backend(), histogram);
    strictEqual(cleared.findIndex((count) => count !== 0), -1, "the histogram is cleared");
    const result = await downloadU32(backend(), selection);
    histogram.destroy();
    selection.destroy();
    return [...result];
  }

  it("starts with k entries at level 0, whatever `selection` contains", async () => {
    deepStrictEqual(await digit([3, 0, 4, 5], [9, 9], 0, 7), [0x02000000, 4]);
    deepStrictEqual(await digit([3, 0, 4, 5], [9, 9], 0, 8), [0x03000000, 1]);
    deepStrictEqual(await digit(Array(256).fill(1), [9, 9], 0, 256), [0xff000000, 1]);
  });

  it("stores the digit below the digits that are already fixed", async () => {
    deepStrictEqual(await digit([0, 2, 2], [0x7f000000, 3], 1, 1000), [0x7f020000, 1]);
    deepStrictEqual(await digit([5], [0x7f012300, 5], 3, 1000), [0x7f012300, 5]);
  });

  it("chooses nothing for k = 0", async () => {
    deepStrictEqual(await digit([3, 4], [9, 9], 0, 0), [0, 0]);
    deepStrictEqual(await digit([3, 4], [0, 0], 2, 0), [0, 0]);
  });
});

eachBackend("count_ties and rank_ties", (backend) => {
  for (const [rows, cols] of [[1, 1], [7, 129], [64, 33], [65, 128], [1000, 3], [3, 70001]]) {
    it(`count the ties in ${rows} rows of ${cols} keys, and choose the first ties`, async () => {
      const keys = randomKeys(rows * cols, rows).map((key) => key % 3);
      const ties = Array.from({ length: rows }, (_, r) => {
        return keys.subarray(r * cols, (r + 1) * cols).filter((key) => key === 2).length;
      });
      const total = ties.reduce((sum, count) => sum + count, 0), wanted = total >> 1;
      const buffers = {
        keys: upload(backend(), keys),
        selection: upload(backend(), new Uint32Array(2 + rows).fill(5).fill(2, 0, 1).fill(wanted, 1, 2)),
      };
      backend().dispatch(countTies, buffers, { rows, cols, accumulate: 0 });
      deepStrictEqual([...await downloadU32(backend(), buffers.selection)], [2, wanted, ...ties]);
      backend().dispatch(countTies, buffers, { rows, cols, accumulate: 1 });
      deepStrictEqual([...await downloadU32(backend(), buffers.selection)], [
        2,
        wanted,
        ...ties.map((t) => 2 * t),
      ]);

      backend().dispatch(countTies, buffers, { rows, cols, accumulate: 0 });
      backend().dispatch(rankTies, { selection: buffers.selection }, { rows });
      let remaining = wanted;
      const ranked = ties.map((count) => {
        const taken = Math.min(remaining, count);
        remaining -= taken;
        return taken;
      });
      deepStrictEqual([...await downloadU32(backend(), buffers.selection)], [2, wanted, ...ranked]);
      buffers.keys.destroy();
      buffers.selection.destroy();
    });
  }
});

eachBackend("the selection", (backend) => {
  for (const [name, distribution] of Object.entries(SCORE_DISTRIBUTIONS)) {
    it(`chooses exactly the k smallest of ${name}`, async () => {
      for (const [rows, cols] of [[1, 1], [7, 31], [129, 33], [64, 128], [300, 300]]) {
        const weights = normals(rows * cols, cols).map(distribution);
        const buffers = {
          work: upload(backend(), weights),
          scale: upload(backend(), new Float32Array(cols).fill(1)),
          forced: upload(backend(), new Uint32Array(1)),
          keys: backend().createBuffer("keys", 4 * rows * cols),
        };
        const params = { rows, cols, ld: cols, first: 0, words: 1, has_forced: 0 };
        backend().dispatch(scoreKeys, buffers, params);
        const keys = await downloadU32(backend(), buffers.keys);
        const scores = weights.map(Math.abs), total = rows * cols;
        for (const k of new Set([0, 1, total >> 1, (total >> 1) + 1, total - 1, total])) {
          const selection = select(backend(), buffers.keys, rows, cols, k);
          const mask = chosenEntries(keys, await downloadU32(backend(), selection), cols);
          strictEqual(mask.reduce((sum, bit) => sum + bit, 0), k, `k = ${k} of ${rows}×${cols}`);
          deepStrictEqual(mask, referenceSelection(scores, k), `k = ${k} of ${rows}×${cols}`);
          selection.destroy();
        }
        for (const buffer of Object.values(buffers)) buffer.destroy();
      }
    });
  }

  it("chooses forced entries before all others, even before zeros", async () => {
    const rows = 40, cols = 50, first = 17, words = 3;
    const weights = normals(rows * cols, 8).map((x, i) => i % 5 ? x : 0);
    const isForced = (r: number, c: number) => (r + c) % 3 === 0;
    const buffers = {
      work: upload(backend(), weights),
      scale: upload(backend(), new Float32Array(first + cols).fill(1)),
      forced: upload(backend(), packBits(rows, words, isForced)),
      keys: backend().createBuffer("keys", 4 * rows * cols),
    };
    const params = { rows, cols, ld: cols, first, words, has_forced: 1 };
    backend().dispatch(scoreKeys, buffers, params);
    const keys = await downloadU32(backend(), buffers.keys);
    const forcedCount = keys.filter((key) => key === 0).length;
    for (const k of [forcedCount, forcedCount + 1, rows * cols - 1]) {
      const selection = select(backend(), buffers.keys, rows, cols, k);
      const mask = chosenEntries(keys, await downloadU32(backend(), selection), cols);
      const expected = referenceSelection(weights.map(Math.abs), k, (i) => {
        return isForced(Math.floor(i / cols), first + i % cols);
      });
      deepStrictEqual(mask, expected, `k = ${k}`);
      selection.destroy();
    }
    for (const buffer of Object.values(buffers)) buffer.destroy();
  });
});
