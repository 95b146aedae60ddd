/** Tests that copy2d and copy_transposed copy submatrices of odd sizes at odd offsets bit for bit, and write nothing else. */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { copy2d, copyTransposed } from "../../src/kernels/transfer/copy2d.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadU32, upload } from "../support/device.ts";
import { uniform } from "../support/random.ts";

const SIZES = [[1, 1], [7, 31], [33, 127], [129, 172], [1000, 3], [1, 1000], [31, 1], [260, 1031]];

function randomWords(count: number, seed: number): Uint32Array<ArrayBuffer> {
  const next = uniform(seed);
  return Uint32Array.from({ length: count }, () => next() * 2 ** 32);
}

eachBackend("copy2d", (backend) => {
  for (const [rows, cols] of SIZES) {
    it(`copies ${rows}×${cols} elements`, async () => {
      const source_ld = cols + 5, target_ld = cols + 2, source_offset = 11, target_offset = 3;
      const from = randomWords(source_offset + rows * source_ld, 1);
      const expected = randomWords(target_offset + rows * target_ld + 9, 2);
      const source = upload(backend(), from), target = upload(backend(), expected);
      const params = { rows, cols, source_offset, source_ld, target_offset, target_ld };
      backend().dispatch(copy2d, { source, target }, params);
      for (let r = 0; r < rows; r++) {
        const start = source_offset + r * source_ld;
        expected.set(from.subarray(start, start + cols), target_offset + r * target_ld);
      }
      deepStrictEqual(await downloadU32(backend(), target), expected);
      source.destroy();
      target.destroy();
    });
  }

  for (const [rows, cols] of SIZES) {
    it(`transposes ${rows}×${cols} elements`, async () => {
      const source_ld = cols + 5, target_ld = rows + 2, source_offset = 11, target_offset = 3;
      const from = randomWords(source_offset + rows * source_ld, 1);
      const expected = randomWords(target_offset + cols * target_ld + 9, 2);
      const source = upload(backend(), from), target = upload(backend(), expected);
      const params = { rows, cols, source_offset, source_ld, target_offset, target_ld };
      backend().dispatch(copyTransposed, { source, target }, params);
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < cols; c++) {
          expected[target_offset + c * target_ld + r] = from[source_offset + r * source_ld + c];
        }
      }
      deepStrictEqual(await downloadU32(backend(), target), expected);
      source.destroy();
      target.destroy();
    });
  }

  it("copies signalling NaNs, subnormals and signed zeros bit for bit", async () => {
    const words = Uint32Array.of(0x7f800001, 0xffbfffff, 1, 0x807fffff, 0x80000000, 0x7f800000);
    const source = upload(backend(), words), target = backend().createBuffer("target", words.byteLength);
    const params = { rows: 2, cols: 3, source_offset: 0, source_ld: 3, target_offset: 0, target_ld: 3 };
    backend().dispatch(copy2d, { source, target }, params);
    deepStrictEqual(await downloadU32(backend(), target), words);
    source.destroy();
    target.destroy();
  });
});
