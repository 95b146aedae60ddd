/**
 * Tests that rotary rotates some dimensions of each head by angles that depend on the token's position in its
 * window, and does not change other elements. A window is a run of consecutive tokens.
 */

import { it } from "@std/testing/bdd";
import { rotary } from "../../src/kernels/forward/rotary.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

eachBackend("rotary", (backend) => {
  for (
    const { rows, tokens, heads, headStride, pairs, offset, ld } of [
      { rows: 1, tokens: 1, heads: 1, headStride: 2, pairs: 1, offset: 0, ld: 2 },
      { rows: 6, tokens: 3, heads: 2, headStride: 8, pairs: 4, offset: 0, ld: 16 },
      { rows: 10, tokens: 5, heads: 3, headStride: 11, pairs: 3, offset: 4, ld: 40 },
      { rows: 66, tokens: 33, heads: 5, headStride: 14, pairs: 7, offset: 1, ld: 75 },
      { rows: 130, tokens: 130, heads: 4, headStride: 128, pairs: 64, offset: 512, ld: 1024 },
    ]
  ) {
    it(`rotates ${pairs} pairs in each of ${heads} heads that are ${headStride} elements apart, for ${rows} rows with ${tokens} tokens per window`, async () => {
      const values = normals(rows * ld, 1), angles = normals(tokens * pairs, 2).map((x) => 3 * x);
      const table = new Float32Array(tokens * 2 * pairs);
      angles.forEach((angle, at) => {
        const t = Math.floor(at / pairs), i = at % pairs;
        table[t * 2 * pairs + i] = Math.cos(angle);
        table[(t * 2 + 1) * pairs + i] = Math.sin(angle);
      });
      const expected = Float64Array.from(values);
      for (let r = 0; r < rows; r++) {
        for (let h = 0; h < heads; h++) {
          for (let i = 0; i < pairs; i++) {
            const at = offset + r * ld + h * headStride + i, angle = angles[(r % tokens) * pairs + i];
            const a = values[at], b = values[at + pairs];
            expected[at] = a * Math.cos(angle) - b * Math.sin(angle);
            expected[at + pairs] = a * Math.sin(angle) + b * Math.cos(angle);
          }
        }
      }
      const buffers = { table: upload(backend(), table), x: upload(backend(), values) };
      backend().dispatch(rotary, buffers, {
        rows,
        tokens,
        heads,
        head_stride: headStride,
        pairs,
        offset,
        ld,
      });
      assertClose(await downloadF32(backend(), buffers.x), expected, 2e-7);
      for (const buffer of Object.values(buffers)) buffer.destroy();
    });
  }
});
