/**
 * Tests of quantize_block in comparison with naive float64 code. Each kept weight must be exactly a value of its
 * grid, and its code must be the nearest one. Very close to a tie, rounding errors of f32
 * decide which code is nearest. There the float64 code uses the kernel's choice. Each block of columns is at
 * an odd offset in its buffer, and its rows are divided between two dispatches.
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { quantizeBlock } from "../../../src/device/kernels/quantize_block.ts";
import { referenceRoundingLoop } from "../../reference/column_loop.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachTiling } from "../../support/backends.ts";
import { type BlockCase, BlockLayout, makeBlockCase } from "../../support/block_layout.ts";
import { downloadF32, upload } from "../../support/device.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";

interface Rounding {
  readonly bits: number;
  readonly symmetric?: boolean;
  readonly gridSize?: number;
  readonly searched?: boolean;
  readonly scaleDtype?: number;
  readonly scaleLimit?: number;
  readonly groups?: { readonly keep: number; readonly group: number };
  /** Returns whether the mask allows an entry to be kept. The default is the random mask of the test layout. */
  readonly isAllowed?: (row: number, column: number) => boolean;
}

/** The initial value of the scales and zeros that no dispatch may write. */
const UNTOUCHED = -5;

async function check(backend: Backend, block: BlockCase, rounding: Rounding): Promise<void> {
  const { bits, symmetric = false, gridSize = 0, searched = false, groups, isAllowed } = rounding;
  const { scaleDtype = 0, scaleLimit = 0 } = rounding;
  const { rows, size, first, words } = block, maxCode = 2 ** bits - 1;
  const layout = new BlockLayout(backend, block);
  if (isAllowed) {
    for (let r = 0; r < rows; r++) {
      for (let j = 0; j < size; j++) {
        const word = r * words + ((first + j) >> 5), bit = 1 << ((first + j) & 31);
        if (isAllowed(r, j)) layout.maskBefore[word] |= bit;
        else layout.maskBefore[word] &= ~bit;
      }
    }
    backend.write(layout.buffers.mask, 0, new Uint8Array(layout.maskBefore.buffer));
  }
  const allowed = Uint8Array.from({ length: rows * size }, (_, i) => {
    const column = first + i % size;
    return (layout.maskBefore[Math.floor(i / size) * words + (column >> 5)] >>> (column & 31)) & 1;
  });

  // The matrix has one more group of columns after the block, so `grids` is not the number of the block's grids.
  const skipped = gridSize ? first / gridSize : 0, own = gridSize ? Math.ceil(size / gridSize) : 1;
  const grids = gridSize ? skipped + own + 1 : 1;
  const next = uniform(7),
    rowGrids = Array.from({ length: rows }, (_, r) => ({
      scale: Math.fround((r % 5 === 4 ? 0.01 : 1) * (3 + next()) / maxCode),
      zero: symmetric ? 2 ** (bits - 1) : Math.floor(next() * (maxCode + 1)),
    }));
  const before = (field: "scale" | "zero") =>
    Float32Array.from({ length: rows * grids }, (_, i) => gridSize ? UNTOUCHED : rowGrids[i][field]);
  const buffers = {
    ...layout.buffers,
    scales: upload(backend, before("scale")),
    zeros: upload(backend, before("zero")),
  };
  for (const [row0, count] of layout.dispatches()) {
    backend.dispatch(quantizeBlock, buffers, {
      ...layout.params(row0, count),
      keep: groups?.keep ?? 0,
      group: groups?.group ?? 0,
      grid_size: gridSize,
      grids,
      max_code: maxCode,
      symmetric: symmetric ? 1 : 0,
      searched: searched ? 1 : 0,
      scale_dtype: scaleDtype,
      scale_limit: scaleLimit,
    });
  }

  const scales = await downloadF32(backend, buffers.scales),
    zeros = await downloadF32(backend, buffers.zeros);
  const q = await downloadF32(backend, buffers.q);
  const ownGrids = Array.from(
    { length: rows * own },
    (_, i) => Math.floor(i / own) * grids + skipped + i % own,
  );
  const codes = Float64Array.from({ length: rows * size }, (_, i) => {
    const r = Math.floor(i / size), j = i % size;
    const at = r * grids + (gridSize ? skipped + Math.floor(j / gridSize) : 0);
    const value = q[layout.wOffset + r * layout.ldw + j],
      code = Math.round(value / scales[at] + zeros[at]) + 0;
    if (Number.isInteger(zeros[at])) {
      strictEqual(
        Math.fround((code - zeros[at]) * scales[at]) + 0,
        value,
        `entry (${r}, ${j}) is not a value of its grid`,
      );
    }
    ok(code >= 0 && code <= maxCode, `entry (${r}, ${j}) has the code ${code}`);
    return code;
  });

  const expected = referenceRoundingLoop(block, {
    bits,
    symmetric,
    gridSize,
    rowGrids: gridSize ? undefined : rowGrids,
    allowed,
    groups,
    searched,
    scaleDtype,
    scaleLimit,
    follow: {
      codes,
      zeros: ownGrids.map((at) => zeros[at]),
      scales: ownGrids.map((at) => scales[at]),
    },
  });
  deepStrictEqual(codes, expected.codes, "codes");
  assertClose(ownGrids.map((at) => scales[at]), expected.grids.map(({ scale }) => scale), 1e-5, {
    label: "scales",
  });
  assertClose(
    ownGrids.map((at) => zeros[at]),
    expected.grids.map(({ zero }) => zero),
    scaleLimit ? 1e-6 : 0,
    {
      label: "zeros",
    },
  );
  scales.forEach((scale, at) => ok(ownGrids.includes(at) || scale === UNTOUCHED, `scale ${at} was written`));
  expected.q.forEach((value, i) => {
    const own = q[layout.wOffset + Math.floor(i / size) * layout.ldw + i % size];
    if (scaleLimit) strictEqual(own, value + 0, `entry ${i} is not exactly a value of its grid`);
  });
  await layout.assertResult(backend, expected);
  layout.destroy();
  buffers.scales.destroy();
  buffers.zeros.destroy();
}

const SHAPES = [[1, 1], [7, 31], [9, 33], [65, 127], [33, 128], [17, 172], [20, 256]];
/** The shapes for most settings of a grid: less than a word of the mask, more than a word, and the widest block. */
const FEW_SHAPES = SHAPES.filter(([rows]) => rows === 7 || rows === 9 || rows === 20);

eachTiling("quantize_block", (backend) => {
  for (const bits of [2, 3, 4, 8]) {
    it(`rounds the entries that the mask keeps to the ${bits}-bit grids of their rows, and prunes the others`, async () => {
      for (const [rows, size] of SHAPES) await check(backend(), makeBlockCase(rows, size), { bits });
    });
  }

  it("rounds all entries if the mask keeps all, also with symmetric grids", async () => {
    for (const [rows, size] of SHAPES) {
      await check(backend(), makeBlockCase(rows, size), { bits: 3, symmetric: true, isAllowed: () => true });
    }
  });

  it("sets all entries to 0 if the mask keeps none", async () => {
    await check(backend(), makeBlockCase(9, 70), { bits: 4, isAllowed: () => false });
  });

  for (const symmetric of [false, true]) {
    for (const gridSize of [1, 3, 4, 16, 32, 100, 128]) {
      it(`computes ${symmetric ? "symmetric" : "asymmetric"} grids of ${gridSize} columns from the updated weights`, async () => {
        for (const [rows, size] of symmetric ? FEW_SHAPES : SHAPES) {
          await check(backend(), makeBlockCase(rows, size, { first: 2 * gridSize }), {
            bits: 4,
            symmetric,
            gridSize,
          });
        }
      });
    }
  }

  for (const symmetric of [false, true]) {
    for (const [bits, gridSize, scaleDtype] of [[2, 1, 0], [3, 16, 0], [4, 32, 0], [4, 32, 1], [8, 100, 2]]) {
      it(`searches ${symmetric ? "symmetric" : "asymmetric"} ${bits}-bit grids of ${gridSize} columns, with scales of dtype ${scaleDtype}`, async () => {
        const searched = { bits, symmetric, gridSize, searched: true, scaleDtype };
        for (const [rows, size] of FEW_SHAPES) {
          await check(backend(), makeBlockCase(rows, size, { first: 2 * gridSize }), searched);
        }
        await check(backend(), makeBlockCase(9, 70, { first: 2 * gridSize }), {
          ...searched,
          isAllowed: (_, column) => column % 3 === 0,
        });
      });
    }
  }

  for (
    const [bits, symmetric, gridSize, scaleLimit] of [[6, true, 16, 127], [3, true, 16, 31], [
      4,
      false,
      32,
      63,
    ], [2, false, 16, 15]] as const
  ) {
    for (const searched of [false, true]) {
      it(`computes ${bits}-bit grids of ${gridSize} columns, whose scales are at most ${scaleLimit} times a factor of the block (searched: ${searched})`, async () => {
        const rounding = { bits, symmetric, gridSize, searched, scaleDtype: 1, scaleLimit };
        for (const [rows, size] of FEW_SHAPES) {
          await check(backend(), makeBlockCase(rows, size, { first: 256 }), rounding);
        }
        await check(backend(), makeBlockCase(9, 70, { first: 256 }), {
          ...rounding,
          isAllowed: (_, column) => column % 3 === 0,
        });
      });
    }
  }

  for (
    const [keep, group, gridSize] of [[2, 4, 0], [3, 5, 0], [1, 2, 4], [2, 4, 4], [2, 3, 12], [5, 16, 128], [
      40,
      100,
      100,
    ]]
  ) {
    it(`keeps ${keep} of every ${group} entries, with ${gridSize || "all"} columns per grid`, async () => {
      for (const [rows, size] of SHAPES) {
        await check(backend(), makeBlockCase(rows, size, { first: 2 * gridSize || 37 }), {
          bits: 4,
          gridSize,
          groups: { keep, group },
          isAllowed: () => true,
          searched: gridSize > 0 && rows % 2 > 0,
        });
      }
    });
  }

  it("counts the entries that the mask prunes among those that the pattern prunes", async () => {
    const groups = { keep: 3, group: 4 };
    for (const period of [1, 2, 7]) {
      const isAllowed = (row: number, column: number) => (61 * row + column) % period > 0;
      await check(backend(), makeBlockCase(19, 61), { bits: 4, groups, isAllowed });
    }
  });

  it("computes the scale 1 for weights that are all 0, and keeps them 0", async () => {
    const block = { ...makeBlockCase(5, 40, { first: 32 }), work: new Float32Array(200) };
    for (const symmetric of [false, true]) {
      for (const searched of [false, true]) {
        await check(backend(), block, { bits: 2, symmetric, gridSize: 8, searched, isAllowed: () => true });
      }
    }
  });
});
