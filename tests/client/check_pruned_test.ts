/** Tests checkPruned(), which refuses answers that are not the layer that was asked for. `lying_hosts_test.ts` tests that every call uses it. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { checkPruned } from "../../src/client/answers/check_pruned.ts";
import { MalformedAnswerError } from "../../src/client/errors.ts";
import type { LayerTensors, PrunedLayer } from "../../src/client/layer_file.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { type FloatDtype, floatsToBytes } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { f32, maskOf, report } from "./fake_host.ts";

const HALF = [0, 2, -0, 4, 5, 0, 7, 0];

/** Makes an answer with the weight `values` (2, 4). Its mask prunes the entries `pruned`, by default those that are 0. */
function layer(
  values: readonly number[],
  { dtype = "F32" as FloatDtype, pruned = values.flatMap((value, i) => value === 0 ? [i] : []) } = {},
): PrunedLayer {
  const weight: HostTensor = { dtype, shape: [2, 4], data: floatsToBytes(Float32Array.from(values), dtype) };
  const mask = maskOf(2, 4, (entry) => !pruned.includes(entry));
  return { weight, mask, report: { ...report(2, 4), zeros: pruned.length } };
}

const DENSE_VALUES = [1, 2, 3, 4, 5, 6, 7, 8], { weight: DENSE } = layer(DENSE_VALUES);

function check(answer: PrunedLayer, query: LayerQuery = {}, tensors: Partial<LayerTensors> = {}): void {
  checkPruned(answer, { query, tensors: { weight: DENSE, ...tensors } });
}

function assertRefused(message: RegExp, ...args: Parameters<typeof check>): void {
  assert.throws(() => check(...args), (error: Error) => {
    assert.ok(error instanceof MalformedAnswerError);
    assert.match(error.message, message);
    return true;
  });
}

describe("checkPruned()", () => {
  it("accepts the layer that was asked for, in every dtype", () => {
    for (const dtype of ["F32", "F16", "BF16"] as const) {
      check(layer(HALF, { dtype }), { dtype });
      check(layer(HALF, { dtype }), { pattern: "2:4" }, { weight: layer(DENSE_VALUES, { dtype }).weight });
    }
  });

  it("accepts a layer whose request is unknown, by its own report", () => {
    checkPruned(layer(HALF), { query: {} });
    assert.throws(() => checkPruned(layer(HALF), { query: { sparsity: 0.75 } }), MalformedAnswerError);
  });

  it("refuses fewer or more zeros than the query asks for", () => {
    assertRefused(/prunes 4 weights, but the query asks for 6/, layer(HALF), { sparsity: 0.75 });
    assertRefused(/prunes 4 weights, but the query asks for 2/, layer(HALF), { sparsity: 0.25 });
  });

  it("refuses a group that keeps more than the pattern, although the number of zeros is right", () => {
    assertRefused(/keeps weight \[0,2\] against the pattern/, layer([1, 2, 3, 0, 0, 0, 0, 8]), {
      pattern: "2:4",
    });
    assertRefused(/keeps weight \[0,3\] against the pattern/, layer(HALF), { pattern: "1:4" });
  });

  it("accepts more zeros if the mask of the request prunes them, and refuses a weight that this mask prunes", () => {
    const bits = maskOf(2, 4, (entry) => entry > 4);
    const bools: HostTensor = { dtype: "BOOL", shape: [2, 4], data: Uint8Array.of(0, 0, 0, 0, 0, 1, 1, 1) };
    for (const mask of [bits, bools]) {
      check(layer([0, 0, 0, 0, 0, 6, 7, 8]), {}, { mask });
      assertRefused(/against the mask of the request/, layer([1, 0, 0, 0, 0, 6, 7, 8]), {}, { mask });
    }
  });

  it("accepts zeros that the mask keeps if they were 0 before, or if their column is 0 everywhere", () => {
    const sparse = layer([0, 0, 0, 4, 5, 6, 7, 8]).weight;
    check(layer([0, 0, 0, 4, 5, 0, 0, 0], { pruned: [0, 5, 6, 7] }), {}, { weight: sparse });
    check(layer([0, 2, 0, 4, 0, 6, 0, 8], { pruned: [0] }), { sparsity: 0.125 });
  });

  it("accepts columns of zeros below rows with their original weights only with validation statistics", () => {
    const answer = (nearest_rows: number) => {
      const half = layer([0, 0, 9, 0, 5, 6, 0, 0], { pruned: [3, 6, 7] });
      return { ...half, report: { ...half.report, nearest_rows } };
    };
    const query = { sparsity: 0.375 }, digest = `sha256:${"0".repeat(64)}`;
    const validation = f32([4, 4], Array(16).fill(0)), upper = f32([10], Array(10).fill(0));
    check(answer(1), query, { validation_hessian: validation });
    check(answer(1), query, { validation_hessian_upper: upper });
    check(answer(1), { ...query, hessian: digest });
    const moved = layer([0, 0, 9, 0, 5.5, 6, 0, 0], { pruned: [3, 6, 7] });
    const movedReport = { ...moved.report, nearest_rows: 1 }, target = DENSE;
    check({ ...moved, report: movedReport }, query, { validation_hessian: validation, target });
    const refusal = /2 weights are 0, although its mask keeps them/;
    assertRefused(refusal, answer(1), query);
    assertRefused(refusal, answer(0), query, { validation_hessian: validation });
    const changed = layer([0, 0, 9, 0, 5, 60, 0, 0], { pruned: [3, 6, 7] });
    const report = { ...changed.report, nearest_rows: 1 };
    assertRefused(refusal, { ...changed, report }, query, { validation_hessian: validation });
  });

  it("refuses many zeros that the mask keeps", () => {
    assertRefused(
      /3 weights are 0, although its mask keeps them/,
      layer([0, 0, 0, 4, 5, 6, 7, 8], { pruned: [] }),
      {
        sparsity: 0,
      },
    );
    assertRefused(/every weight is 0/, layer(Array(8).fill(0), { pruned: [0, 1, 2, 3] }));
  });

  it("accepts a layer of zeros if the inputs of all kept weights were always 0", () => {
    // Columns 2 and 3 are kept. With an input that is 1 in columns 0 and 1, the loss is 1² + 2² + 5² + 6².
    const answer = layer(Array(8).fill(0), { pruned: [0, 1, 4, 5] });
    const zeros = { ...answer, report: { ...answer.report, loss: 66, relative_error: 1 } };
    const statistics = (diagonal: readonly number[]) => {
      const rows = diagonal.map((entry, i) => diagonal.map((_, j) => i === j ? entry : 0));
      return [
        { hessian: f32([4, 4], rows.flat()) },
        { hessian_upper: f32([10], rows.flatMap((row, i) => row.slice(i))) },
        { inputs: f32([4, 4], rows.flat()) },
      ];
    };
    for (const tensors of statistics([1, 1, 0, 0])) check(zeros, {}, tensors);
    for (const tensors of statistics([0, 0, 0, 1])) assertRefused(/every weight is 0/, zeros, {}, tensors);
    assertRefused(/every weight is 0/, zeros);
  });

  it("accepts zeros of weights that are too small for the dtype of the answer", () => {
    const small = layer(DENSE_VALUES.map((value) => value * 1e-8), { dtype: "F16" }).weight;
    check(layer(Array(8).fill(0), { dtype: "F16", pruned: [0, 1, 2, 3] }), {}, { weight: small });
  });
});

/** The grid of a row has the scale 0.5 and the zero 1, so the codes 0 to 3 stand for −0.5, 0, 0.5 and 1. */
const ROUNDED: PrunedLayer = {
  ...layer([-0.5, 0, 0.5, 0, 1, 0, 0, 1]),
  quantized: {
    codes: { dtype: "U8", shape: [2, 4], data: Uint8Array.of(0, 1, 2, 1, 3, 1, 1, 3) },
    scales: f32([2, 1], [0.5, 0.5]),
    zeros: f32([2, 1], [1, 1]),
  },
};

describe("checkPruned() of rounded weights", () => {
  it("accepts codes and grids that stand for the weight", () => check(ROUNDED, { bits: 2 }));

  it("accepts weights beside the values of a grid without 0 by no more than a rounding error", () => {
    // The values are 3·code − 1. The zero 1/3 is rounded to f32.
    const values = Array.from(ROUNDED.quantized!.codes.data, (code) => 3 * code - 1);
    const quantized = {
      ...ROUNDED.quantized!,
      scales: f32([2, 1], [3, 3]),
      zeros: f32([2, 1], [1 / 3, 1 / 3]),
    };
    const query = { bits: 2, sparsity: 0, scale_bits: 4 };
    check({ ...layer(values), quantized }, query);
    assertRefused(/a zero is not an integer/, { ...layer(values), quantized }, { bits: 2, sparsity: 0 });
    const wrong = { ...layer(values.with(4, values[4] + 0.01)), quantized };
    assertRefused(/weight \[1,0\] is 8.01\d*, but its code says 8/, wrong, query);
  });

  it("refuses an answer without codes, and codes that were not asked for", () => {
    assertRefused(/has no codes/, layer(HALF), { bits: 2 });
    assertRefused(/has codes, but the query asks for no rounding/, ROUNDED);
  });

  for (
    const [what, other, message] of [
      [
        "another code",
        { codes: { dtype: "U8", shape: [2, 4], data: new Uint8Array(8).fill(1) } },
        /weight \[0,0\] is -0.5, but its code says 0/,
      ],
      [
        "too large a code",
        { codes: { dtype: "U8", shape: [2, 4], data: new Uint8Array(8).fill(4) } },
        /has more than 2 bits/,
      ],
      [
        "codes of another shape",
        { codes: { dtype: "U8", shape: [8], data: new Uint8Array(8) } },
        /tensor codes is U8 \[8\]/,
      ],
      ["a scale that is NaN", { scales: f32([2, 1], [NaN, 0.5]) }, /tensor scales is not finite/],
      ["a zero that is infinite", { zeros: f32([2, 1], [1, Infinity]) }, /tensor zeros is not finite/],
      [
        "grids of other groups",
        { scales: f32([2, 2], [1, 1, 1, 1]) },
        /tensor scales is F32 \[2,2\] instead of F32 \[2,1\]/,
      ],
    ] as const
  ) {
    it(`refuses ${what}`, () => {
      assertRefused(message, { ...ROUNDED, quantized: { ...ROUNDED.quantized!, ...other } }, { bits: 2 });
    });
  }
});

/** A layer whose inputs 1 and 2 are removed. */
const SMALLER: PrunedLayer = {
  ...layer([1, 0, 0, 4, 5, 0, 0, 8]),
  weight: f32([2, 2], [1, 4, 5, 8]),
  kept: { dtype: "U32", shape: [2], data: new Uint8Array(Uint32Array.of(0, 3).buffer) },
};

describe("checkPruned() of removed columns", () => {
  const columns: LayerQuery = { method: "obc", pattern: "columns" };

  it("accepts the columns that remain", () => check(SMALLER, columns));

  it("refuses them if they were not asked for", () => {
    assertRefused(/tensor weight is F32 \[2,2\]/, SMALLER);
    assertRefused(/has lost columns/, { ...layer(HALF), kept: SMALLER.kept });
  });

  for (
    const [what, other, query, message] of [
      ["no numbers of the columns", { kept: undefined }, {}, /tensor "kept" is missing/],
      [
        "other numbers than those of the mask",
        { kept: { ...SMALLER.kept!, data: new Uint8Array(Uint32Array.of(0, 2).buffer) } },
        {},
        /keeps other columns than kept/,
      ],
      ["a weight of another width", { weight: f32([2, 3], [1, 2, 4, 5, 6, 8]) }, {}, /weight is F32 \[2,3\]/],
      [
        "another mask in another row",
        { mask: maskOf(2, 4, (i) => [0, 3, 4, 6].includes(i)) },
        {},
        /in other rows/,
      ],
      ["a set that is not whole", {}, { column_group: 2 }, /divides a set of 2 columns/],
      ["too few removed columns", {}, { sparsity: 0.75 }, /prunes 4 weights, but the query asks for 6/],
    ] as const
  ) {
    it(`refuses ${what}`, () => {
      assertRefused(message, { ...SMALLER, ...other } as PrunedLayer, { ...columns, ...query });
    });
  }
});
