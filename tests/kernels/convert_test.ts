/** Tests of to_float32 for every 16-bit pattern, and of from_float32 for values near every rounding boundary. */

import { deepStrictEqual, ok } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/backend/backend.ts";
import { DTYPE_CODE, fromFloat32, toFloat32 } from "../../src/kernels/transfer/convert.ts";
import { BF16, decodeFloat16, encodeFloat16, F16, type Format } from "../reference/float16.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, downloadU32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

const FORMATS = [["F16", F16], ["BF16", BF16]] as const;

async function widen(
  backend: Backend,
  halves: Uint16Array<ArrayBuffer>,
  params: { count: number; dtype: number; source_offset: number; target_offset: number },
): Promise<Float32Array<ArrayBuffer>> {
  const source = upload(backend, new Uint32Array(halves.buffer));
  const target = upload(backend, new Float32Array(params.target_offset + params.count + 1).fill(-7));
  backend.dispatch(toFloat32, { source, target }, params);
  const result = await downloadF32(backend, target);
  source.destroy();
  target.destroy();
  return result;
}

async function narrow(
  backend: Backend,
  values: Float32Array<ArrayBuffer>,
  dtype: number,
  source_offset = 0,
): Promise<Uint16Array<ArrayBuffer>> {
  const count = values.length - source_offset;
  const source = upload(backend, values);
  const target = upload(backend, new Uint32Array(Math.ceil(count / 2)).fill(0xdeadbeef));
  backend.dispatch(fromFloat32, { source, target }, { count, dtype, source_offset });
  const result = new Uint16Array((await downloadU32(backend, target)).buffer);
  source.destroy();
  target.destroy();
  return result;
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

eachBackend("convert", (backend) => {
  for (const [name, format] of FORMATS) {
    it(`converts every ${name} pattern exactly to f32`, async () => {
      const halves = Uint16Array.from({ length: 1 << 16 }, (_, i) => i);
      const params = { count: 1 << 16, dtype: DTYPE_CODE[name], source_offset: 0, target_offset: 0 };
      const actual = await widen(backend(), halves, params);
      for (const [bits, value] of [...halves].map((bits) => [bits, decodeFloat16(bits, format)])) {
        ok(Object.is(actual[bits], value), `pattern ${bits}: ${actual[bits]}, expected ${value}`);
      }
      deepStrictEqual(actual[1 << 16], -7);
    });

    for (const count of [1, 7, 8, 31, 33, 127, 129, 172, 1000, 70001]) {
      it(`converts ${count} ${name} elements to f32 at odd offsets`, async () => {
        const halves = Uint16Array.from(
          { length: count + 9 - (count + 9) % 2 },
          (_, i) => (i * 48271) % 0x7c00,
        );
        const source_offset = 3, target_offset = 5;
        const params = { count, dtype: DTYPE_CODE[name], source_offset, target_offset };
        const expected = new Float32Array(target_offset + count + 1).fill(-7);
        for (let i = 0; i < count; i++) {
          expected[target_offset + i] = decodeFloat16(halves[source_offset + i], format);
        }
        deepStrictEqual(await widen(backend(), halves, params), expected);
      });

      it(`converts ${count} f32 elements from an odd offset to ${name}`, async () => {
        const values = normals(count + 3, count);
        const expected = Uint16Array.from(
          { length: count + count % 2 },
          (_, i) => i < count ? encodeFloat16(values[i + 3], format) : 0,
        );
        deepStrictEqual(await narrow(backend(), values, DTYPE_CODE[name], 3), expected);
      });
    }

    it(`rounds to the nearest ${name} with ties to even, also for subnormals and overflow`, async () => {
      const values = roundingCases(format);
      const actual = await narrow(backend(), values, DTYPE_CODE[name]);
      values.forEach((value, i) => {
        const expected = encodeFloat16(value, format);
        ok(actual[i] === expected, `${value}: pattern ${actual[i]}, expected ${expected}`);
      });
    });

    it(`converts a NaN to a NaN of the same sign in ${name}`, async () => {
      const words = Uint32Array.of(0x7f800001, 0x7fc00000, 0x7fffffff, 0xff800001, 0xffc01234, 0xffffffff);
      const actual = await narrow(backend(), new Float32Array(words.buffer), DTYPE_CODE[name]);
      actual.forEach((bits, i) => {
        ok(Number.isNaN(decodeFloat16(bits, format)), `word ${i} became pattern ${bits}`);
        deepStrictEqual(bits >>> 15, words[i] >>> 31);
      });
    });
  }

  it("copies F32 elements bit for bit in both directions", async () => {
    const words = Uint32Array.of(0x7f800001, 1, 0x80000000, 0xffbfffff, 0x3f800000, 0x007fffff, 42);
    const source = upload(backend(), words);
    const target = upload(backend(), new Uint32Array(8)), packed = upload(backend(), new Uint32Array(5));
    const params = { count: 5, dtype: DTYPE_CODE.F32, source_offset: 2 };
    backend().dispatch(toFloat32, { source, target }, { ...params, target_offset: 1 });
    backend().dispatch(fromFloat32, { source, target: packed }, params);
    deepStrictEqual(await downloadU32(backend(), target), Uint32Array.of(0, ...words.subarray(2), 0, 0));
    deepStrictEqual(await downloadU32(backend(), packed), words.slice(2));
    for (const buffer of [source, target, packed]) buffer.destroy();
  });
});
