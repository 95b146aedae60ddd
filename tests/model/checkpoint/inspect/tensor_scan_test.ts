/** Tests the scan of a tensor against a naive count, for every dtype, with chunks of any size. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import {
  type GroupPattern,
  type ScanPattern,
  TensorScan,
} from "../../../../src/model/checkpoint/inspect/tensor_scan.ts";
import { parsePattern } from "../../../../src/tensor/pattern.ts";
import { uniform } from "../../../../scripts/fixtures/random.ts";

const NM = (text: string) => parsePattern(text) as GroupPattern;

/** Scans F32 values in chunks of `chunk` entries. */
function scan(
  values: readonly number[],
  shape: readonly number[],
  wanted?: ScanPattern,
  chunk = values.length,
) {
  const tensor = new TensorScan("F32", shape, wanted);
  for (let at = 0; at < values.length; at += chunk) {
    tensor.add(new Uint8Array(Float32Array.from(values.slice(at, at + chunk)).buffer));
  }
  return tensor.result;
}

/** Counts groups that keep more than `keep` of `group` entries, or ⌈keep·g/group⌉ of an incomplete group of g entries. */
function naiveViolations(rows: readonly (readonly number[])[], { keep, group }: GroupPattern): number {
  let violations = 0;
  for (const row of rows) {
    for (let at = 0; at < row.length; at += group) {
      const entries = row.slice(at, at + group);
      if (entries.filter((x) => x !== 0).length > Math.ceil(keep * entries.length / group)) violations++;
    }
  }
  return violations;
}

describe("TensorScan", () => {
  for (
    const [rows, cols, pattern] of [[5, 16, "2:4"], [3, 13, "2:4"], [7, 11, "1:3"], [1, 1, "2:4"], [
      4,
      9,
      "3:8",
    ]] as const
  ) {
    it(`counts the violations of ${pattern} in ${rows}×${cols} as a naive count does, also transposed and in chunks`, () => {
      const random = uniform(rows * cols);
      const matrix = Array.from(
        { length: rows },
        () => Array.from({ length: cols }, () => random() < 0.5 ? 0 : random() - 0.5),
      );
      const expected = naiveViolations(matrix, NM(pattern));
      const transposed = Array.from({ length: cols }, (_, c) => matrix.map((row) => row[c]));
      for (const chunk of [1, 3, 1000]) {
        const result = scan(matrix.flat(), [rows, cols], { pattern: NM(pattern), inputAxis: 1 }, chunk);
        assert.equal(result.violations, expected);
        assert.equal(result.zeros, matrix.flat().filter((x) => x === 0).length);
        const other = scan(transposed.flat(), [cols, rows], { pattern: NM(pattern), inputAxis: 0 }, chunk);
        assert.equal(other.violations, expected);
      }
    });
  }

  it("gives the output and the first input of the first broken group", () => {
    const values = [0, 0, 1, 1, 0, 1, 1, 1, /* next output */ 0, 0, 0, 0, 1, 1, 1, 0];
    const { violations, firstViolation } = scan(values, [2, 8], { pattern: NM("2:4"), inputAxis: 1 });
    assert.deepEqual([violations, firstViolation], [2, [0, 4]]);
  });

  it("counts −0 as a zero, and NaN and infinity as values that are not finite", () => {
    const { zeros, nonFinite, firstNonFinite, violations } = scan([0, -0, 1, NaN, -Infinity, 1e-45], [2, 3]);
    assert.deepEqual([zeros, nonFinite, firstNonFinite, violations], [2, 2, 3, null]);
  });

  it("reads F16, BF16 and F64", () => {
    const words = (...values: number[]) => new Uint8Array(Uint16Array.from(values).buffer);
    for (
      const [dtype, bytes] of [
        ["F16", words(0, 0x8000, 0x0001, 0x3c00, 0x7c00, 0xfe00)],
        ["BF16", words(0, 0x8000, 0x0001, 0x7c00, 0x7f80, 0xffc0)],
        ["F64", new Uint8Array(Float64Array.of(0, -0, 5e-324, 1, Infinity, NaN).buffer)],
      ] as const
    ) {
      const tensor = new TensorScan(dtype, [6]);
      tensor.add(bytes);
      const { zeros, nonFinite, firstNonFinite } = tensor.result;
      assert.deepEqual([zeros, nonFinite, firstNonFinite], [2, 2, 4], dtype);
    }
  });

  it("reads bytes that are not aligned", () => {
    const tensor = new TensorScan("F32", [2]);
    const bytes = new Uint8Array(9);
    bytes.set(new Uint8Array(Float32Array.of(0, NaN).buffer), 1);
    tensor.add(bytes.subarray(1));
    assert.deepEqual([tensor.result.zeros, tensor.result.firstNonFinite], [1, 1]);
  });
});
