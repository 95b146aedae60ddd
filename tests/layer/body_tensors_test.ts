/**
 * Tests the checks of a request body's header. The tests cover which sets of tensors describe a layer or its
 * statistics, and which tensor an error names.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { checkHessianTensors, checkLayerTensors, type StatisticsRule } from "../../src/layer/body_tensors.ts";
import { MAX_FEATURES, MAX_TOKENS } from "../../src/protocol/limits.ts";
import type { Dtype } from "../../src/tensor/dtype.ts";
import { encodeHeader } from "../../src/tensor/safetensors/encode.ts";

type Spec = Record<string, readonly [Dtype, ...number[]]>;

function infos(spec: Spec) {
  return encodeHeader(Object.entries(spec).map(([name, [dtype, ...shape]]) => ({ name, dtype, shape })))
    .tensors;
}

function check(spec: Spec, rule: StatisticsRule = "required") {
  return checkLayerTensors(infos(spec), rule);
}

const WEIGHT = { weight: ["F16", 6, 10] } as const satisfies Spec;

describe("checkLayerTensors", () => {
  it("accepts every form of statistics and of masks", () => {
    assert.deepEqual(check({ ...WEIGHT, hessian: ["F32", 10, 10] }).statistics, {
      name: "hessian",
      order: 10,
    });
    assert.deepEqual(check({ hessian_upper: ["F32", 55], ...WEIGHT }).statistics, {
      name: "hessian_upper",
      order: 10,
    });
    assert.equal(check({ ...WEIGHT, inputs: ["BF16", 3, 10] }).statistics?.name, "inputs");
    // The limit on features does not apply to tokens, which have a limit of their own.
    assert.ok(check({ ...WEIGHT, inputs: ["BF16", MAX_TOKENS, 10] }));
    const validated = { ...WEIGHT, hessian: ["F32", 10, 10], validation_hessian_upper: ["F32", 55] } as const;
    assert.deepEqual(check(validated).validation, { name: "validation_hessian_upper", order: 10 });
    assert.equal(check(WEIGHT, "optional").statistics, undefined);
    assert.equal(check(WEIGHT, "stored").statistics, undefined);
    assert.deepEqual(check({ ...WEIGHT, mask: ["U8", 6, 2] }, "optional").mask, { packed: true });
    assert.deepEqual(check({ ...WEIGHT, mask: ["BOOL", 6, 10] }, "optional").mask, { packed: false });
    assert.deepEqual(check({ ...WEIGHT, target: ["F32", 6, 10] }, "stored").target, {
      name: "target",
      dtype: "F32",
      rows: 6,
      cols: 10,
    });
    const { rows, cols, weight } = check(WEIGHT, "optional");
    assert.deepEqual([rows, cols, weight.dtype], [6, 10, "F16"]);
  });

  const refused: [string, Spec, StatisticsRule, string][] = [
    ["a layer without a weight", { hessian: ["F32", 10, 10] }, "required", "weight"],
    ["a weight of integers", { weight: ["I32", 6, 10] }, "optional", "weight"],
    ["a weight with one axis", { weight: ["F32", 6] }, "optional", "weight"],
    ["a weight without rows", { weight: ["F32", 0, 10] }, "optional", "weight"],
    ["a weight with too many columns", { weight: ["F32", 1, MAX_FEATURES + 1] }, "optional", "weight"],
    ["a layer without statistics", WEIGHT, "required", "hessian"],
    [
      "statistics in the body when they are already stored",
      { ...WEIGHT, hessian: ["F32", 10, 10] },
      "stored",
      "hessian",
    ],
    [
      "two kinds of statistics",
      { ...WEIGHT, hessian: ["F32", 10, 10], inputs: ["F32", 2, 10] },
      "required",
      "inputs",
    ],
    ["a hessian of another order", { ...WEIGHT, hessian: ["F32", 9, 9] }, "required", "hessian"],
    ["a hessian in half precision", { ...WEIGHT, hessian: ["F16", 10, 10] }, "required", "hessian"],
    ["a triangle of another order", { ...WEIGHT, hessian_upper: ["F32", 54] }, "required", "hessian_upper"],
    ["inputs of another width", { ...WEIGHT, inputs: ["F32", 2, 9] }, "required", "inputs"],
    ["inputs with too many tokens", { ...WEIGHT, inputs: ["F32", MAX_TOKENS + 1, 10] }, "required", "inputs"],
    ["inputs without tokens", { ...WEIGHT, inputs: ["F32", 0, 10] }, "required", "inputs"],
    [
      "validation statistics of another order",
      { ...WEIGHT, hessian: ["F32", 10, 10], validation_hessian: ["F32", 9, 9] },
      "required",
      "validation_hessian",
    ],
    [
      "validation statistics beside stored statistics",
      { ...WEIGHT, validation_hessian_upper: ["F32", 55] },
      "stored",
      "validation_hessian_upper",
    ],
    [
      "validation statistics in place of statistics",
      { ...WEIGHT, validation_hessian: ["F32", 10, 10] },
      "required",
      "hessian",
    ],
    [
      "two forms of validation statistics",
      { ...WEIGHT, validation_hessian: ["F32", 10, 10], validation_hessian_upper: ["F32", 55] },
      "optional",
      "validation_hessian_upper",
    ],
    ["a mask of another shape", { ...WEIGHT, mask: ["U8", 6, 10] }, "optional", "mask"],
    [
      "a target of another shape",
      { ...WEIGHT, hessian: ["F32", 10, 10], target: ["F32", 6, 9] },
      "required",
      "target",
    ],
    [
      "a target in half precision",
      { ...WEIGHT, hessian: ["F32", 10, 10], target: ["F16", 6, 10] },
      "required",
      "target",
    ],
    ["a target without statistics", { ...WEIGHT, target: ["F32", 6, 10] }, "optional", "hessian"],
    ["a tensor with an unknown name", { ...WEIGHT, wieght: ["F32", 1] }, "optional", "wieght"],
  ];
  for (const [description, spec, rule, tensor] of refused) {
    it(`refuses ${description}`, () => {
      assert.throws(() => check(spec, rule), new RegExp(`^Refusal: tensor ${tensor}: expected `));
    });
  }
});

describe("checkHessianTensors", () => {
  it("accepts either form of a hessian, alone or with validation statistics", () => {
    const whole = { name: "hessian", order: 7 };
    assert.deepEqual(checkHessianTensors(infos({ hessian: ["F32", 7, 7] })), {
      statistics: whole,
      validation: undefined,
    });
    const both: Spec = { validation_hessian_upper: ["F32", 28], hessian: ["F32", 7, 7] };
    assert.deepEqual(checkHessianTensors(infos(both)), {
      statistics: whole,
      validation: { name: "validation_hessian_upper", order: 7 },
    });
    for (const order of [1, 2, 3, 100, 49152]) {
      const spec: Spec = { hessian_upper: ["F32", (order * (order + 1)) / 2] };
      assert.deepEqual(checkHessianTensors(infos(spec)).statistics, { name: "hessian_upper", order });
    }
  });

  it("refuses other tensors, dtypes and shapes", () => {
    const refused: Spec[] = [
      {},
      { hessian: ["F32", 7, 8] },
      { hessian: ["F32", 0, 0] },
      { hessian: ["F32"] },
      { hessian_upper: ["F32", 7] },
      { hessian_upper: ["F32", 0] },
      { hessian: ["F64", 7, 7] },
      { inputs: ["F32", 7, 7] },
      { hessian: ["F32", 7, 7], weight: ["F32", 7, 7] },
      { validation_hessian: ["F32", 7, 7] },
      { hessian: ["F32", 7, 7], validation_hessian: ["F32", 6, 6] },
    ];
    for (const spec of refused) {
      assert.throws(
        () => checkHessianTensors(infos(spec)),
        { code: "shape_mismatch" },
        JSON.stringify(spec),
      );
    }
  });
});
