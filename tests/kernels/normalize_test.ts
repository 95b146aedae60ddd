/** Tests of layer_norm and rms_norm for rows of many lengths, and for rows whose variance a one-pass formula would compute badly. */

import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/backend/backend.ts";
import { layerNorm, rmsNorm } from "../../src/kernels/forward/normalize.ts";
import { referenceLayerNorm, referenceRmsNorm } from "../reference/normalize.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

async function assertNormalizes(
  backend: Backend,
  values: Float32Array<ArrayBuffer>,
  cols: number,
  eps: number,
) {
  const weights = normals(cols, 2), biases = normals(cols, 3);
  const x = upload(backend, values), weight = upload(backend, weights), bias = upload(backend, biases);
  const y = backend.createBuffer("y", values.byteLength);
  backend.dispatch(layerNorm, { x, weight, bias, y }, { rows: values.length / cols, cols, eps });
  // The kernel receives eps as an f32.
  const expected = referenceLayerNorm(values, cols, weights, biases, Math.fround(eps));
  assertClose(await downloadF32(backend, y), expected, 1e-6);
  for (const buffer of [x, weight, bias, y]) buffer.destroy();
}

const SIZES = [
  [1, 1],
  [7, 7],
  [3, 31],
  [33, 33],
  [5, 127],
  [2, 129],
  [129, 172],
  [7, 1000],
  [2, 12289],
] as const;

eachBackend("layer_norm", (backend) => {
  for (const [rows, cols] of SIZES) {
    it(`normalises ${rows} rows of ${cols} elements`, async () => {
      await assertNormalizes(backend(), normals(rows * cols, cols), cols, 1e-5);
    });
  }

  it("computes the variance accurately if the mean is much larger than the deviation", async () => {
    await assertNormalizes(backend(), normals(4 * 1000, 5).map((x) => 3000 + x), 1000, 1e-5);
  });

  it("returns the bias for constant rows", async () => {
    await assertNormalizes(backend(), new Float32Array(3 * 172).fill(0.1), 172, 1e-5);
  });

  it("adds eps to a small variance", async () => {
    await assertNormalizes(backend(), normals(3 * 33, 6).map((x) => 1e-4 * x), 33, 1e-6);
  });
});

eachBackend("rms_norm", (backend) => {
  async function assertRms(values: Float32Array<ArrayBuffer>, cols: number, eps: number) {
    const weights = normals(cols, 2);
    const x = upload(backend(), values), weight = upload(backend(), weights);
    const y = backend().createBuffer("y", values.byteLength);
    backend().dispatch(rmsNorm, { x, weight, y }, { rows: values.length / cols, cols, eps });
    assertClose(
      await downloadF32(backend(), y),
      referenceRmsNorm(values, cols, weights, Math.fround(eps)),
      1e-6,
    );
    for (const buffer of [x, weight, y]) buffer.destroy();
  }

  for (const [rows, cols] of SIZES) {
    it(`normalises ${rows} rows of ${cols} elements`, () =>
      assertRms(normals(rows * cols, cols), cols, 1e-5));
  }

  it("normalises more rows than a grid has workgroups along one axis", () =>
    assertRms(normals(65537 * 2, 4), 2, 1e-6));

  it("adds eps to the mean square of a row that is small or zero", async () => {
    await assertRms(normals(3 * 33, 6).map((x) => 1e-4 * x), 33, 1e-6);
    await assertRms(new Float32Array(2 * 33), 33, 1e-6);
  });
});
