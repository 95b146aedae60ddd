/**
 * Tests of quantize_block in comparison with naive float64 code. Each kept weight must be exactly a value of its
 * grid, and its code must be the nearest one. Very close to a tie, rounding errors of f32
 * decide which code is nearest. There the float64 code uses the kernel's choice. Each block of columns is at
 * an odd offset in its buffers.
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import { quantizeBlock, quantizeBlockCase } from "../../../src/device/kernels/quantize_block.ts";
import { dispatchCase } from "../../../scripts/self_check/dispatch_case.ts";
import { setBit } from "../../reference/kernel_reference.ts";
import { gridIndex, roundBlock } from "../../reference/kernels/quantize_block.ts";
import { copyContents } from "../../reference/run_reference.ts";
import { eachTiling } from "../../support/backends.ts";
import { assertOutputs } from "../../support/kernel_cases.ts";

interface Rounding {
  readonly bits: number;
  readonly symmetric?: boolean;
  readonly gridSize?: number;
  readonly searched?: boolean;
  readonly scaleDtype?: number;
  readonly scaleLimit?: number;
  readonly groups?: { readonly keep: number; readonly group: number };
  /** The first column of the block. @default twice the columns of a grid */
  readonly first?: number;
  /** The weights of the block. @default random ones */
  readonly weight?: number;
  /** Returns whether the mask allows an entry to be kept. @default a random mask */
  readonly isAllowed?: (row: number, column: number) => boolean;
}

/** A case of (rows, size) entries. */
function roundedCase(rows: number, size: number, rounding: Rounding) {
  const { bits, symmetric, gridSize = 0, searched, groups, isAllowed, weight } = rounding;
  const { scaleDtype: scale_dtype, scaleLimit: scale_limit } = rounding;
  const { buffers, ...one } = quantizeBlockCase({
    ...{ rows, size, bits, grid_size: gridSize, scale_dtype, scale_limit, isAligned: false },
    first: rounding.first ?? (2 * gridSize || 37),
    symmetric: symmetric ? 1 : 0,
    searched: searched ? 1 : 0,
    ...groups ?? { keep: 0, group: 0 },
  });
  const { row0, first, words } = one.params;
  return {
    ...one,
    buffers: () => {
      const { mask, work, ...others } = buffers();
      for (let i = 0; isAllowed && i < rows * size; i++) {
        const row = Math.floor(i / size), column = i % size;
        setBit(mask, words, row0 + row, first + column, isAllowed(row, column));
      }
      return { ...others, mask, work: weight === undefined ? work : work.fill(weight) };
    },
  };
}

async function check(backend: Backend, rows: number, size: number, rounding: Rounding): Promise<void> {
  const one = roundedCase(rows, size, rounding), { params, buffers } = one, before = buffers();
  const after = await dispatchCase(backend, quantizeBlock as unknown as Kernel, before, params);
  const { q, scales, zeros } = after, { grid_size, max_code } = params;
  const own = grid_size ? Math.ceil(size / grid_size) : 1;
  const grids = Array.from({ length: rows * own }, (_, i) => gridIndex(params, i));
  const elementOf = (r: number, j: number) => params.w_offset + r * params.ldw + j;
  const codes = Float64Array.from({ length: rows * size }, (_, i) => {
    const r = Math.floor(i / size), j = i % size, value = q[elementOf(r, j)];
    const at = grids[r * own + (grid_size ? Math.floor(j / grid_size) : 0)];
    const code = Math.round(value / scales[at] + zeros[at]) + 0;
    if (Number.isInteger(zeros[at])) {
      const exact = Math.fround((code - zeros[at]) * scales[at]) + 0;
      strictEqual(exact, value, `entry (${r}, ${j}) is not a value of its grid`);
    }
    ok(code >= 0 && code <= max_code, `entry (${r}, ${j}) has the code ${code}`);
    return code;
  });

  const expected = copyContents(before);
  const follow = { codes, zeros: grids.map((at) => zeros[at]), scales: grids.map((at) => scales[at]) };
  deepStrictEqual(codes, roundBlock(expected, params, follow), "codes");
  assertOutputs(quantizeBlock, one, { before, after, expected }, { tolerance: 1e-5 });
  for (let i = 0; rounding.scaleLimit && i < rows * size; i++) {
    const at = elementOf(Math.floor(i / size), i % size);
    strictEqual(q[at], expected.q[at] + 0, `entry ${i} is not exactly a value of its grid`);
  }
}

const SHAPES = [[1, 1], [7, 31], [9, 33], [65, 127], [33, 128], [17, 172], [20, 256]];
/** The shapes for most settings of a grid: less than a word of the mask, more than a word, and the widest block. */
const FEW_SHAPES = SHAPES.filter(([rows]) => rows === 7 || rows === 9 || rows === 20);

eachTiling("quantize_block", (backend) => {
  for (const bits of [2, 3, 4, 8]) {
    it(`rounds the entries that the mask keeps to the ${bits}-bit grids of their rows, and prunes the others`, async () => {
      for (const [rows, size] of SHAPES) await check(backend(), rows, size, { bits });
    });
  }

  it("rounds all entries if the mask keeps all, also with symmetric grids", async () => {
    for (const [rows, size] of SHAPES) {
      await check(backend(), rows, size, { bits: 3, symmetric: true, isAllowed: () => true });
    }
  });

  it("sets all entries to 0 if the mask keeps none", async () => {
    await check(backend(), 9, 70, { bits: 4, isAllowed: () => false });
  });

  for (const symmetric of [false, true]) {
    for (const gridSize of [1, 3, 4, 16, 32, 100, 128]) {
      it(`computes ${symmetric ? "symmetric" : "asymmetric"} grids of ${gridSize} columns from the updated weights`, async () => {
        for (const [rows, size] of symmetric ? FEW_SHAPES : SHAPES) {
          await check(backend(), rows, size, {
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
          await check(backend(), rows, size, searched);
        }
        await check(backend(), 9, 70, {
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
        const rounding = { bits, symmetric, gridSize, searched, scaleDtype: 1, scaleLimit, first: 256 };
        for (const [rows, size] of FEW_SHAPES) {
          await check(backend(), rows, size, rounding);
        }
        await check(backend(), 9, 70, {
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
        await check(backend(), rows, size, {
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
      await check(backend(), 19, 61, { bits: 4, groups, isAllowed });
    }
  });

  it("computes the scale 1 for weights that are all 0, and keeps them 0", async () => {
    const zeros = { bits: 2, gridSize: 8, first: 32, weight: 0, isAllowed: () => true };
    for (const symmetric of [false, true]) {
      for (const searched of [false, true]) {
        await check(backend(), 5, 40, { ...zeros, symmetric, searched });
      }
    }
  });
});
