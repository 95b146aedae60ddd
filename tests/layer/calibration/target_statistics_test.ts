/** Tests that TargetStatistics computes targets on every backend, against sums in float64. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { TargetStatistics } from "../../../src/layer/calibration/target_statistics.ts";
import { readMatrix } from "../../../src/device/tiled_matrix.ts";
import { floatsToBytes } from "../../../src/tensor/dtype.ts";
import { gram } from "../../reference/hessian.ts";
import { referenceTarget } from "../../reference/target_statistics.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { upload } from "../../support/device.ts";
import { normals } from "../../../scripts/fixtures/random.ts";
import { asFloat32 } from "../../../src/tensor/host_tensor.ts";

eachBackend("TargetStatistics", (backend) => {
  for (
    const [outFeatures, inFeatures, edge, batches, scale, tokenWeights] of [
      [1, 1, 8, [1], 1, "none"],
      [5, 7, 8, [5, 1, 64], undefined, "none"],
      [19, 33, 8, [5, 1, 64], 0.22, "none"],
      [19, 33, 8, [5, 1, 64], 0.22, "unit"],
      [33, 18, 16, [3, 2], undefined, "unit"],
      [9, 11, undefined, [40], 1, "none"],
    ] as const
  ) {
    const stream = scale === undefined
      ? "without a residual stream"
      : `that are added to a stream times ${scale}`;
    it(`sums the target of ${outFeatures} outputs of ${inFeatures} inputs ${stream}, in tiles of ${edge ?? "the default size"}, with token weights ${tokenWeights}`, async () => {
      const rows = batches.reduce((sum, count) => sum + count, 0), hasStream = scale !== undefined;
      const xd = normals(rows * inFeatures, 1), rp = normals(rows * outFeatures, 4);
      const rd = normals(rows * outFeatures, 3), bias = normals(outFeatures, 6);
      const xp = normals(rows * inFeatures, 2).map((value, i) => 0.3 * value + xd[i]);
      const values = normals(outFeatures * inFeatures, 5);
      // The stream of the dense model after the layer.
      const after = rd.map((value, at) => {
        const t = Math.floor(at / outFeatures), o = at % outFeatures;
        let output = bias[o];
        for (let i = 0; i < inFeatures; i++) output += values[o * inFeatures + i] * xd[t * inFeatures + i];
        return value + (scale ?? 1) * output;
      });
      const weight = {
        dtype: "F32",
        shape: [outFeatures, inFeatures],
        data: floatsToBytes(values, "F32"),
      } as const;
      const layer = { name: "fc", inFeatures, outFeatures };
      const statistics = new TargetStatistics(backend(), layer, edge, { tokenWeights });
      let row = 0;
      for (const [index, count] of batches.entries()) {
        if (index === 2) statistics.endPart(); // two batches are one part, and the third is another one
        const uploadedBias = upload(backend(), bias);
        const part = (x: Float32Array, cols: number) =>
          upload(backend(), x.slice(row * cols, (row + count) * cols));
        const parts = [
          part(xd, inFeatures),
          part(xp, inFeatures),
          part(after, outFeatures),
          part(rp, outFeatures),
        ];
        const [dense, pruned, denseStream, prunedStream] = parts;
        statistics.add(pruned, count, hasStream ? { stream: prunedStream, scale } : undefined);
        statistics.addDense(dense);
        if (hasStream) statistics.addOutput({ stream: denseStream, scale, bias: uploadedBias });
        for (const buffer of [...parts, uploadedBias]) buffer.destroy();
        row += count;
      }
      const target = statistics.target(weight);
      const residual = scale === undefined ? undefined : rd.map((value, i) => (value - rp[i]) / scale);
      const isWeighted = tokenWeights === "unit";
      const expected = referenceTarget({
        isWeighted,
        rows,
        inFeatures,
        outFeatures,
        weight: values,
        xd,
        xp,
        residual,
      });
      assertClose(await readMatrix(backend(), target), expected, 2e-6);
      const packed = asFloat32((await statistics.packedUpper()).data);
      const scaled = Float64Array.from(xp, (value, at) => {
        const row = xp.subarray(at - at % inFeatures, at - at % inFeatures + inFeatures);
        const square = row.reduce((sum, entry) => sum + entry ** 2, 0) / inFeatures;
        return isWeighted ? value / Math.sqrt(square) : value;
      });
      const ratio = packed[0] / gram(scaled, rows, inFeatures)[0];
      assert.ok(Math.abs(ratio - 1) < 1e-5, "H sums over the inputs of the pruned model");
      target.destroy();
      statistics.destroy();
      assert.equal(backend().counters.bytesLive, 0);
    });
  }

  it("takes the weights themselves as the target if H is the identity", async () => {
    const statistics = new TargetStatistics(backend(), { name: "fc", inFeatures: 19, outFeatures: 9 }, 8);
    statistics.setIdentity();
    const weight = { dtype: "F32", shape: [9, 19], data: floatsToBytes(normals(9 * 19, 1), "F32") } as const;
    const target = statistics.target(weight);
    assert.deepEqual(await readMatrix(backend(), target), asFloat32(weight.data));
    target.destroy();
    const packed = asFloat32((await statistics.packedUpper()).data);
    assert.equal(packed.filter((value) => value === 1).length, 19);
    statistics.destroy();
    assert.equal(backend().counters.bytesLive, 0);
  });

  it("frees what it has taken, also if the target is never computed", () => {
    const statistics = new TargetStatistics(backend(), { name: "fc", inFeatures: 3, outFeatures: 2 });
    const x = upload(backend(), normals(12, 1)), stream = upload(backend(), normals(8, 2));
    assert.throws(
      () => statistics.addDense(x),
      /^TypeError: target of fc: has no inputs of the pruned model/,
    );
    statistics.add(x, 4);
    assert.throws(
      () => statistics.addOutput({ stream, scale: 1 }),
      /^TypeError: target of fc: has no residual stream of the pruned model/,
    );
    statistics.addDense(x);
    for (let i = 0; i < 2; i++) {
      statistics.add(x, 4, { stream, scale: 1 });
      statistics.addDense(x);
      if (i === 0) statistics.addOutput({ stream, scale: 1 });
    }
    for (const owner of [statistics, x, stream]) owner.destroy();
    assert.equal(backend().counters.bytesLive, 0);
  });
});
