/** Tests of cross_entropy for vocabularies of odd sizes, padded rows, and logits at which exp overflows. */

import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/backend/backend.ts";
import { crossEntropy } from "../../src/kernels/forward/cross_entropy.ts";
import { referenceCrossEntropy } from "../reference/cross_entropy.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals, uniform } from "../support/random.ts";

async function losses(
  backend: Backend,
  values: Float32Array<ArrayBuffer>,
  cols: number,
  classes: Uint32Array<ArrayBuffer>,
  padding = 0,
): Promise<Float32Array<ArrayBuffer>> {
  const rows = classes.length, ld = cols + padding;
  const padded = new Float32Array(rows * ld).fill(1e9);
  for (let r = 0; r < rows; r++) padded.set(values.subarray(r * cols, (r + 1) * cols), r * ld);
  const logits = upload(backend, padded), targets = upload(backend, classes);
  const loss = backend.createBuffer("loss", 4 * rows);
  backend.dispatch(crossEntropy, { logits, targets, loss }, { rows, cols, ld });
  const result = await downloadF32(backend, loss);
  for (const buffer of [logits, targets, loss]) buffer.destroy();
  return result;
}

function classesOf(rows: number, cols: number): Uint32Array<ArrayBuffer> {
  const next = uniform(rows + cols);
  return Uint32Array.from({ length: rows }, (_, r) => r === 0 ? cols - 1 : Math.floor(next() * cols));
}

eachBackend("cross_entropy", (backend) => {
  for (
    const [rows, cols] of [[1, 1], [7, 7], [33, 31], [5, 33], [129, 127], [3, 129], [172, 172], [31, 1000], [
      2,
      50272,
    ]]
  ) {
    for (const padding of [0, 5]) {
      it(`computes the losses of ${rows} rows of ${cols} logits, with ${padding} unused elements after each row`, async () => {
        const values = normals(rows * cols, cols).map((x) => 3 * x), classes = classesOf(rows, cols);
        const expected = referenceCrossEntropy(values, cols, classes);
        assertClose(await losses(backend(), values, cols, classes, padding), expected, 1e-6, {
          scale: Math.max(1, ...expected),
        });
      });
    }
  }

  it("does not overflow for large logits, and is exact for a target that is almost certain", async () => {
    const values = Float32Array.of(1000, 999, -1000, 0, -1e30, 88, 89, 90, -5000, -5001, -5002, -5000);
    const classes = Uint32Array.of(0, 3, 2);
    const expected = referenceCrossEntropy(values, 4, classes);
    assertClose(await losses(backend(), values, 4, classes), expected, 1e-6);
  });
});
