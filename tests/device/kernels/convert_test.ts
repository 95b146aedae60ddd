/** Tests of to_float32 for every 16-bit pattern, and of from_float32 for values near every rounding boundary. */

import { DTYPE_CODE, fromFloat32, toFloat32 } from "../../../src/device/kernels/transfer/convert.ts";
import type { Values } from "../../../src/device/kernels/kernel_case.ts";
import { BF16, decodeFloat16, F16, type Format } from "../../reference/float16.ts";
import { testKernel } from "../../support/kernel_cases.ts";
import { normals } from "../../../scripts/fixtures/random.ts";

const FORMATS = [["F16", F16], ["BF16", BF16]] as const;
const COUNTS = [1, 7, 8, 31, 33, 127, 129, 172, 1000, 70001];

function widenCase(source: Uint32Array<ArrayBuffer>, dtype: number, count: number, source_offset: number) {
  const target_offset = source_offset && 5;
  return {
    params: { count, dtype, source_offset, target_offset },
    buffers: () => ({ source, target: new Float32Array(target_offset + count + 1).fill(-7) }),
  };
}

function narrowCase(source: Values, dtype: number, source_offset = 0) {
  const count = source.length - source_offset;
  return {
    params: { count, dtype, source_offset },
    buffers: () => ({ source, target: new Uint32Array(Math.ceil(count / 2)).fill(0xdeadbeef) }),
  };
}

/** Returns `count` finite 16-bit patterns in words. */
function patterns(count: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array(
    Uint16Array.from({ length: count + count % 2 }, (_, i) => (i * 48271) % 0x7c00).buffer,
  );
}

/**
 * Returns values at which rounding to the format is difficult, with both signs. They are each value of the
 * format, the point halfway to the next value, and the two f32 neighbours of both. For bf16, only every 37th
 * value is used.
 */
function roundingCases(format: Format): Float32Array<ArrayBuffer> {
  const cases: number[] = [];
  const step = format.exponentBits === 8 ? 37 : 1; // bf16 has 32640 finite magnitudes, spread over 254 binades
  for (let bits = 0; !Number.isNaN(decodeFloat16(bits + 1, format)); bits += step) {
    const value = decodeFloat16(bits, format), next = decodeFloat16(bits + 1, format);
    const halfway = Number.isFinite(next)
      ? (value + next) / 2
      : value + (value - decodeFloat16(bits - 1, format)) / 2;
    for (const center of [value, halfway]) {
      const word = new Uint32Array(Float32Array.of(center).buffer)[0];
      const around = Uint32Array.of(Math.max(0, word - 1), word, word + 1);
      cases.push(...new Float32Array(around.buffer));
    }
  }
  return Float32Array.from([...cases, Infinity].flatMap((value) => [value, -value]));
}

/** Words with signalling NaNs, subnormals and signed zeros. */
const UNUSUAL = Uint32Array.of(0x7f800001, 1, 0x80000000, 0xffbfffff, 0x3f800000, 0x007fffff, 42);
const COPY = { count: 5, dtype: DTYPE_CODE.F32, source_offset: 2 };

testKernel(
  toFloat32,
  { tolerance: 0 },
  ["copies F32 elements bit for bit", {
    params: { ...COPY, target_offset: 1 },
    buffers: () => ({ source: UNUSUAL, target: new Uint32Array(8) }),
  }],
  ...FORMATS.flatMap(([name]) => [
    [
      `converts every ${name} pattern exactly to f32`,
      widenCase(
        new Uint32Array(Uint16Array.from({ length: 1 << 16 }, (_, i) => i).buffer),
        DTYPE_CODE[name],
        1 << 16,
        0,
      ),
    ] as const,
    [
      `converts ${name} elements to f32 at odd offsets`,
      ...COUNTS.map((count) => widenCase(patterns(count + 9), DTYPE_CODE[name], count, 3)),
    ] as const,
  ]),
);

testKernel(
  fromFloat32,
  { tolerance: 0 },
  ["copies F32 elements bit for bit", {
    params: COPY,
    buffers: () => ({ source: UNUSUAL, target: new Uint32Array(5) }),
  }],
  ...FORMATS.flatMap(([name, format]) => [
    [
      `converts f32 elements from an odd offset to ${name}`,
      ...COUNTS.map((count) => narrowCase(normals(count + 3, count), DTYPE_CODE[name], 3)),
    ] as const,
    [
      `rounds to the nearest ${name} with ties to even, also for subnormals and overflow`,
      narrowCase(roundingCases(format), DTYPE_CODE[name]),
    ] as const,
    [
      `converts a NaN to a NaN of the same sign in ${name}`,
      narrowCase(
        Uint32Array.of(0x7f800001, 0x7fc00000, 0x7fffffff, 0xff800001, 0xffc01234, 0xffffffff),
        DTYPE_CODE[name],
      ),
    ] as const,
  ]),
);
