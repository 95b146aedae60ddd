/**
 * Tests of prune_block and prune_block_n_m in comparison with naive float64 code. They compare the pruned
 * weights Q, the change Δ, the mask and the error sums, and check that nothing else is written. Each block of
 * columns is at an odd offset in its buffer, and its rows are divided between two dispatches.
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { pruneBlock, pruneBlockNM } from "../../../src/device/kernels/prune_block.ts";
import { referenceColumnLoop, referenceGroupLoop } from "../../reference/column_loop.ts";
import { eachTiling } from "../../support/backends.ts";
import { downloadF32, downloadU32, upload } from "../../support/device.ts";
import { type BlockCase, BlockLayout, makeBlockCase, TOLERANCE } from "../../support/block_layout.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";

const SHAPES = [[1, 1], [1, 7], [7, 31], [8, 32], [9, 33], [65, 127], [33, 128], [130, 129], [17, 172], [
  70,
  256,
]];

async function checkUnstructured(
  backend: Backend,
  block: BlockCase,
  { keys, selection, remaining }: {
    keys: Uint32Array<ArrayBuffer>;
    selection: Uint32Array<ArrayBuffer>;
    /** The number of ties of each row that `selection` still asks for after the dispatches. */
    remaining: number[];
  },
): Promise<void> {
  const { rows, size } = block;
  const wanted = [...selection.subarray(2)];
  const pruned = Uint8Array.from(keys, (key, i) => {
    if (key < selection[0]) return 1;
    return key === selection[0] && wanted[Math.floor(i / size)]-- > 0 ? 1 : 0;
  });
  const layout = new BlockLayout(backend, block);
  const extra = { keys: upload(backend, keys), selection: upload(backend, selection) };
  for (const [row0, count] of layout.dispatches()) {
    backend.dispatch(pruneBlock, { ...layout.buffers, ...extra }, layout.params(row0, count));
  }
  await layout.assertResult(backend, referenceColumnLoop(block, pruned));
  deepStrictEqual([...await downloadU32(backend, extra.selection)], [
    selection[0],
    selection[1],
    ...remaining,
  ]);
  strictEqual(keys.length, rows * size);
  layout.destroy();
  extra.keys.destroy();
  extra.selection.destroy();
}

/**
 * Returns keys with only four different values, so that most rows have ties (keys that equal the threshold).
 */
function tiedKeys(count: number, seed: number): Uint32Array<ArrayBuffer> {
  const next = uniform(seed);
  return Uint32Array.from({ length: count }, () => [0, 5, 0x80000000, 0xffffffff][Math.floor(next() * 4)]);
}

eachTiling("prune_block", (backend) => {
  for (const [rows, size] of SHAPES) {
    it(`prunes entries with keys below the threshold and the first ties of each row, for ${rows}×${size} entries`, async () => {
      const keys = tiedKeys(rows * size, size), threshold = 0x80000000;
      const ties = Array.from({ length: rows }, (_, r) => {
        return keys.subarray(r * size, (r + 1) * size).filter((key) => key === threshold).length;
      });
      // Every third row prunes none of its ties, the row after it half of them, and the row after that all of
      // them.
      const wanted = ties.map((count, r) => r % 3 === 0 ? 0 : r % 3 === 1 ? count >> 1 : count);
      const selection = Uint32Array.of(threshold, 9, ...wanted);
      await checkUnstructured(backend(), makeBlockCase(rows, size), {
        keys,
        selection,
        remaining: wanted.map(() => 0),
      });
    });
  }

  for (const first of [0, 1, 31, 32, 96]) {
    it(`does not change other bits of the mask if the block starts at column ${first}`, async () => {
      const rows = 10, size = 70, keys = tiedKeys(rows * size, 3);
      const selection = new Uint32Array(2 + rows).fill(5, 0, 1);
      await checkUnstructured(backend(), makeBlockCase(rows, size, { first }), {
        keys,
        selection,
        remaining: Array(rows).fill(0),
      });
    });
  }

  it("prunes nothing at threshold 0, and everything at a threshold above the largest key", async () => {
    const rows = 11, size = 45, keys = tiedKeys(rows * size, 4).map((key) => key % 5);
    const block = makeBlockCase(rows, size);
    const none = new Uint32Array(2 + rows);
    await checkUnstructured(backend(), block, { keys, selection: none, remaining: Array(rows).fill(0) });
    const all = new Uint32Array(2 + rows).fill(6, 0, 1).fill(4, 2);
    await checkUnstructured(backend(), block, { keys, selection: all, remaining: Array(rows).fill(4) });
  });

  it("does not update weights if U = I", async () => {
    const rows = 20, size = 60, block = makeBlockCase(rows, size, { identity: true });
    const keys = tiedKeys(rows * size, 5);
    const layout = new BlockLayout(backend(), block);
    const extra = {
      keys: upload(backend(), keys),
      selection: upload(backend(), new Uint32Array(2 + rows).fill(6, 0, 1)),
    };
    backend().dispatch(pruneBlock, { ...layout.buffers, ...extra }, layout.params(0, rows));
    const q = await downloadF32(backend(), layout.buffers.q);
    keys.forEach((key, i) => {
      const at = layout.wOffset + Math.floor(i / size) * layout.ldw + i % size;
      strictEqual(q[at], key < 6 ? 0 : block.work[i]);
    });
    layout.destroy();
    extra.keys.destroy();
    extra.selection.destroy();
  });
});

async function checkGroups(
  backend: Backend,
  block: BlockCase,
  options: { keep: number; group: number; forced?: Uint8Array },
): Promise<number> {
  const { rows, size, first, words } = block;
  const { keep, group, forced } = options;
  const bits = new Uint32Array(rows * words);
  forced?.forEach((isForced, i) => {
    const r = Math.floor(i / size), column = first + i % size;
    if (isForced) bits[r * words + (column >> 5)] |= 1 << (column & 31);
  });
  const layout = new BlockLayout(backend, block);
  const buffers = { ...layout.buffers, forced: upload(backend, bits) };
  for (const [row0, count] of layout.dispatches()) {
    const params = { ...layout.params(row0, count), keep, group, has_forced: forced ? 1 : 0 };
    backend.dispatch(pruneBlockNM, buffers, params);
  }
  const expected = referenceGroupLoop(block, options);
  await layout.assertResult(backend, expected);
  layout.destroy();
  buffers.forced.destroy();
  return expected.gap;
}

eachTiling("prune_block_n_m", (backend) => {
  for (
    const [keep, group] of [[2, 4], [4, 8], [1, 4], [1, 2], [3, 5], [2, 3], [5, 16], [0, 4], [4, 4], [
      40,
      100,
    ]]
  ) {
    it(`keeps ${keep} of every ${group} entries, and a proportional number in a shorter last group`, async () => {
      for (const [rows, size] of SHAPES) {
        const gap = await checkGroups(backend(), makeBlockCase(rows, size), { keep, group });
        ok(gap > TOLERANCE, `the scores of ${rows}×${size} are too close to compare masks: ${gap}`);
      }
    });
  }

  it("prunes entries in lower columns first if their scores are equal", async () => {
    const block = makeBlockCase(9, 44, { identity: true });
    const tied = { ...block, work: Float32Array.from(block.work, (_, i) => i % 3 ? 1 : -1) };
    await checkGroups(backend(), tied, { keep: 2, group: 4 });
    await checkGroups(backend(), { ...tied, work: new Float32Array(9 * 44) }, { keep: 3, group: 8 });
  });

  for (
    const [condition, period] of [
      ["they are fewer than the quota of a group", 7],
      ["they exceed the quota of a group", 2],
      ["every entry is forced", 1],
    ] as const
  ) {
    it(`prunes all forced entries if ${condition}`, async () => {
      const block = makeBlockCase(19, 61);
      const forced = Uint8Array.from({ length: 19 * 61 }, (_, i) => i % period === 0 ? 1 : 0);
      await checkGroups(backend(), block, { keep: 3, group: 4, forced });
      await checkGroups(backend(), block, { keep: 6, group: 10, forced });
    });
  }
});
