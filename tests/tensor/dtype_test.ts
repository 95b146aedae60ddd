/**
 * Tests the number of elements and bytes for a shape, including scalars, empty tensors, and sizes that are
 * too large.
 */

import assert from "node:assert/strict";
import {
  bytesToFloats,
  elementCount,
  type FloatDtype,
  floatsToBytes,
  tensorBytes,
} from "../../src/tensor/dtype.ts";
import { BF16, decodeFloat16, encodeFloat16, F16, type Format } from "../reference/float16.ts";
import { assertSame } from "../support/assert_same.ts";
import { uniform } from "../../scripts/fixtures/random.ts";
import { describe, it } from "@std/testing/bdd";

describe("elementCount", () => {
  it("multiplies the extents", () => {
    assert.equal(elementCount([]), 1);
    assert.equal(elementCount([7]), 7);
    assert.equal(elementCount([49152, 49152]), 2415919104);
    assert.equal(elementCount([3, 0, 5]), 0);
  });

  it("refuses an extent that is not a non-negative safe integer", () => {
    for (const extent of [-1, 0.5, NaN, Infinity, 2 ** 53]) {
      assert.throws(() => elementCount([2, extent]), RangeError);
    }
  });

  it("refuses a product of 2^53 or more", () => {
    assert.equal(elementCount([2 ** 26, 2 ** 26]), 2 ** 52);
    assert.throws(() => elementCount([2 ** 27, 2 ** 26]), RangeError);
  });
});

describe("tensorBytes", () => {
  it("counts more than 2^32 bytes exactly", () => {
    assert.equal(tensorBytes("F32", [49152, 49152]), 9663676416);
    assert.equal(tensorBytes("BF16", [3, 5]), 30);
    assert.equal(tensorBytes("BOOL", []), 1);
  });

  it("refuses a size of 2^53 bytes or more, even if the number of elements is smaller", () => {
    assert.throws(() => tensorBytes("F64", [2 ** 26, 2 ** 25]), RangeError);
  });
});

const ALL_PATTERNS = Uint16Array.from({ length: 1 << 16 }, (_, bits) => bits);

const FORMATS: { dtype: FloatDtype; format: Format; infinity: number; quiet: number }[] = [
  { dtype: "F16", format: F16, infinity: 0x7c00, quiet: 0x200 },
  { dtype: "BF16", format: BF16, infinity: 0x7f80, quiet: 0x40 },
];

for (const { dtype, format, infinity, quiet } of FORMATS) {
  const isNaNPattern = (bits: number) => (bits & 0x7fff) > infinity;
  const narrow = (values: Float32Array) => new Uint16Array(floatsToBytes(values, dtype).buffer);
  const widen = (bits: Uint16Array) => bytesToFloats(new Uint8Array(bits.buffer), dtype);

  const assertNearest = (values: Float32Array) => {
    const actual = narrow(values);
    for (let i = 0; i < values.length; i++) {
      const expected = encodeFloat16(values[i], format);
      if (actual[i] !== expected) {
        assert.fail(`${values[i]} was converted to ${hex(actual[i])}, expected ${hex(expected)}`);
      }
    }
  };

  describe(`${dtype} conversion`, () => {
    it("converts every bit pattern to its exact value", () => {
      const values = widen(ALL_PATTERNS);
      for (const bits of ALL_PATTERNS) {
        if (!Object.is(values[bits], decodeFloat16(bits, format))) {
          assert.fail(`${hex(bits)} was converted to ${values[bits]}`);
        }
      }
    });

    it("preserves every bit pattern in a round trip, except that NaNs become quiet", () => {
      const expected = ALL_PATTERNS.map((bits) => isNaNPattern(bits) ? bits | quiet : bits);
      assertSame(narrow(widen(ALL_PATTERNS)), expected);
    });

    it("rounds to nearest even at every representable value, at every halfway point, and next to them", () => {
      const points: number[] = [];
      for (let bits = 0; bits < infinity; bits++) {
        const low = decodeFloat16(bits, format);
        // The largest finite value has no successor. The value that would follow in the same distance takes its place.
        const high = bits + 1 < infinity
          ? decodeFloat16(bits + 1, format)
          : 2 * low - decodeFloat16(bits - 1, format);
        points.push(low, (low + high) / 2);
      }
      const words = new Uint32Array(Float32Array.from(points).buffer);
      const below = words.map((word) => Math.max(0, word - 1));
      const above = words.map((word) => word + 1);
      for (const sign of [0, 0x80000000]) {
        for (const side of [below, words, above]) {
          assertNearest(new Float32Array(side.map((word) => word | sign).buffer));
        }
      }
    });

    it("rounds random f32 bit patterns to nearest even", () => {
      const next = uniform(7);
      const words = Uint32Array.from({ length: 200_000 }, () => Math.floor(next() * 2 ** 32));
      assertNearest(new Float32Array(words.buffer).map((value) => Number.isNaN(value) ? 0 : value));
    });

    it("converts the smallest and the largest f32 values to signed zeros and infinities", () => {
      const tiny = 2 ** -149;
      const values = Float32Array.of(0, -0, tiny, -tiny, 3.4028234663852886e38, -Infinity);
      assert.deepEqual([...narrow(values)], [0, 0x8000, 0, 0x8000, infinity, infinity | 0x8000]);
    });

    it("makes a NaN quiet and keeps its sign and the upper bits of its payload", () => {
      const words = Uint32Array.of(0x7f800001, 0xff800001, 0x7fa10000, 0xffc10000, 0x7fffffff);
      const shift = 23 - format.fractionBits;
      const expected = [...words].map((word) =>
        (word >>> 31) * 0x8000 + (infinity | quiet | ((word & 0x7fffff) >>> shift))
      );
      assertSame([...narrow(new Float32Array(words.buffer))], expected);
    });

    it("converts data at an odd byte offset", () => {
      const data = new Uint8Array([0xff, ...floatsToBytes(Float32Array.of(1.5, -2), dtype)]).subarray(1);
      assert.deepEqual(bytesToFloats(data, dtype), Float32Array.of(1.5, -2));
    });

    it("refuses data that ends inside an element", () => {
      assert.throws(() => bytesToFloats(new Uint8Array(3), dtype), RangeError);
    });
  });
}

describe("F32 conversion", () => {
  it("copies all bits to newly allocated memory", () => {
    const words = Uint32Array.of(0x7f800001, 0x80000000, 0x00000001, 0xff7fffff);
    const values = new Float32Array(words.buffer);
    const bytes = floatsToBytes(values, "F32");
    const back = bytesToFloats(bytes, "F32");
    assert.deepEqual(new Uint32Array(back.buffer), words);
    assert.notEqual(bytes.buffer, values.buffer);
    assert.notEqual(back.buffer, bytes.buffer);
  });

  it("converts unaligned data and parts of a larger buffer", () => {
    const data = new Uint8Array([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 9]);
    assert.deepEqual(bytesToFloats(data.subarray(0, 8), "F32"), Float32Array.of(1, -2));
    assert.deepEqual(floatsToBytes(Float32Array.of(9, 1, -2, 9).subarray(1, 3), "F32"), data.slice(0, 8));
  });
});

describe("conversion of empty data", () => {
  it("gives an empty result", () => {
    for (const dtype of ["F32", "F16", "BF16"] as const) {
      assert.equal(bytesToFloats(new Uint8Array(0), dtype).length, 0);
      assert.equal(floatsToBytes(new Float32Array(0), dtype).length, 0);
    }
  });
});

function hex(bits: number): string {
  return `0x${bits.toString(16).padStart(4, "0")}`;
}
