/** Tests that packWeight() makes the tensors of the layout `pack-quantized`, and rejects weights that the layout cannot store. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { packWeight } from "../../../src/model/formats/codes/pack_weight.ts";
import { PACK_QUANTIZED_FORMAT } from "../../../src/model/formats/pack_quantized.ts";
import { bytesToFloats, type FloatDtype } from "../../../src/tensor/dtype.ts";
import { asFloat32, type HostTensor, type QuantizedWeight } from "../../../src/tensor/host_tensor.ts";
import type { GridOptions } from "../../../src/tensor/quantization.ts";
import { decodeQuantized, roundTo } from "../../reference/pack_quantized.ts";
import { randomQuantized } from "../../support/quantized_weights.ts";

const ROW_WISE: GridOptions = { bits: 4, groupSize: 0, symmetric: false };

function words({ data }: HostTensor): number[] {
  return [...new Uint32Array(data.slice().buffer)];
}

function floats(values: readonly number[], shape: readonly number[]): HostTensor {
  return { dtype: "F32", shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}

/** A weight of two rows and nine columns with the codes 0 to 15, 1 and 2. */
function example(changes: Partial<QuantizedWeight> = {}): QuantizedWeight {
  const codes = Uint8Array.from({ length: 18 }, (_, i) => i < 16 ? i : i - 15);
  return {
    codes: { dtype: "U8", shape: [2, 9], data: codes },
    scales: floats([0.5, 2], [2, 1]),
    zeros: floats([3, 9], [2, 1]),
    ...changes,
  };
}

/** Packs a weight, and returns its tensors by the ends of their names. */
function pack(quantized: QuantizedWeight, grid: GridOptions, dtype: FloatDtype) {
  const { tensors, dense } = packWeight(
    PACK_QUANTIZED_FORMAT,
    { ...grid, name: "w.weight", dtype },
    quantized,
  );
  const part = (suffix: string) => tensors.get(`w.weight_${suffix}`);
  const [packed, scale, shape] = ["packed", "scale", "shape"].map((suffix) => part(suffix)!);
  return { dense, all: [...tensors], tensors: { packed, scale, shape, zeroPoint: part("zero_point") } };
}

describe("packWeight()", () => {
  it("packs the 4-bit codes of a row and the 4-bit zeros of a group into words, from the lowest bits up", () => {
    const { tensors } = pack(example(), ROW_WISE, "F32");
    assert.deepEqual(tensors.packed.shape, [2, 2]);
    assert.deepEqual(words(tensors.packed), [0x76543210, 0x8, 0x1fedcba9, 0x2]);
    assert.deepEqual(tensors.zeroPoint?.shape, [1, 1]);
    assert.deepEqual(words(tensors.zeroPoint), [0x93]);
    assert.deepEqual([...asFloat32(tensors.scale.data)], [0.5, 2]);
    assert.deepEqual([...new BigInt64Array(tensors.shape.data.slice().buffer)], [2n, 9n]);
  });

  it("packs 3-bit codes without gaps, so that one of eleven extends over two words", () => {
    const codes = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 7);
    const quantized = {
      codes: { dtype: "U8", shape: [1, 12], data: codes },
      scales: floats([1], [1, 1]),
      zeros: floats([5], [1, 1]),
    } as const;
    const { tensors } = pack(quantized, { bits: 3, groupSize: 0, symmetric: false }, "F32");
    assert.deepEqual(words(tensors.packed), [0x80000001, 0b111_1]);
    assert.deepEqual(words(tensors.zeroPoint!), [5]);
  });

  it("packs four 8-bit codes into each word, and stores no zeros if the grid is symmetric", () => {
    const codes = example({ zeros: floats([128, 128], [2, 1]) });
    const { tensors } = pack(codes, { bits: 8, groupSize: 0, symmetric: true }, "F32");
    assert.deepEqual(words(tensors.packed), [0x03020100, 0x07060504, 8, 0x0c0b0a09, 0x010f0e0d, 2]);
    assert.equal(tensors.zeroPoint, undefined);
  });

  for (const bits of [2, 3, 4, 5, 6, 7, 8]) {
    for (const groupSize of [0, 1, 13, 26]) {
      for (const symmetric of [false, true]) {
        for (const dtype of ["F32", "F16", "BF16"] satisfies FloatDtype[]) {
          it(`stores every value of a weight: ${bits} bits, group size ${groupSize}, symmetric ${symmetric}, ${dtype}`, () => {
            const grid = { bits, groupSize, symmetric }, quantized = randomQuantized([11, 26], grid);
            const { tensors, dense, all } = pack(quantized, grid, dtype);
            const scales = bytesToFloats(tensors.scale.data, dtype);
            assert.deepEqual(
              [...scales],
              [...asFloat32(quantized.scales.data)].map((scale) => roundTo(scale, dtype)),
            );
            const exact = decodeQuantized(tensors, bits, scales);
            const values = bytesToFloats(dense.data, dtype);
            assert.deepEqual([...values], [...exact].map((value) => roundTo(value, dtype) + 0));
            const zeros = asFloat32(quantized.zeros.data), groups = quantized.zeros.shape[1];
            const pruned = quantized.codes.data.filter((code, i) =>
              code === zeros[Math.floor(i / 26) * groups + Math.floor(i % 26 / (groupSize || 26))]
            );
            assert.ok(pruned.length > 11 * 26 / 3);
            assert.equal(values.filter((value) => Object.is(value, 0)).length, pruned.length);
            const weight = { ...grid, name: "w.weight", rows: 11, cols: 26, dtype };
            const specs = PACK_QUANTIZED_FORMAT.writer.specs(weight);
            assert.deepEqual(all.map(([name, { dtype, shape }]) => ({ name, dtype, shape })), specs);
          });
        }
      }
    }
  }

  it("rejects grids, codes, scales and zeros that the layout cannot store, and names the wrong value", () => {
    const refused = (
      grid: Partial<GridOptions>,
      message: RegExp,
      changes: Partial<QuantizedWeight> = {},
    ) =>
      assert.throws(() => pack(example(changes), { ...ROW_WISE, ...grid }, "F16"), {
        name: "RangeError",
        message,
      });
    refused({ bits: 1 }, /pack-quantized stores 4 or 8 or 2 or 3 or 5 or 6 or 7 bits, not 1/);
    refused({ groupSize: 4 }, /needs a group size that divides the 9 columns of the weight; 4 does not/);
    refused({ groupSize: 3 }, /scales: must be F32 \[2,3\], got F32 \[2,1\]/);
    refused({ symmetric: true }, /zeros: entry \[0, 0\] must be 8, because the grid is symmetric, not 3/);
    refused({}, /zeros: entry \[1, 0\] must be an integer from 0 to 15, not 2\.5/, {
      zeros: floats([1, 2.5], [2, 1]),
    });
    refused({}, /zeros: must be F32 \[2,1\], got F32 \[2\]/, { zeros: floats([1, 2], [2]) });
    for (const scale of [70000, -70000, 0]) {
      refused({}, new RegExp(`scales: entry \\[1, 0\\] is ${scale}, which is 0 or not finite in F16`), {
        scales: floats([1, scale], [2, 1]),
      });
    }
    refused({}, /codes: entry \[1, 8\] must be at most 15, not 16/, {
      codes: { dtype: "U8", shape: [2, 9], data: new Uint8Array(18).fill(16, 17) },
    });
  });
});
