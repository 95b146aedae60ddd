/**
 * Tests that HessianAccumulator computes H = Σ x xᵀ on every backend, against a sum in float64. A software
 * adapter is a GPU interface that is emulated on the CPU.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { HessianAccumulator } from "../../../src/layer/calibration/hessian.ts";
import { asFloat32 } from "../../../src/tensor/host_tensor.ts";
import { gram, quadraticForm } from "../../reference/hessian.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { upload } from "../../support/device.ts";
import { normals } from "../../../scripts/fixtures/random.ts";

/** The upper triangle of H = Σ x xᵀ in float64, packed in row-major order. */
function packedGram(x: Float32Array, rows: number, size: number): Float64Array {
  const h = gram(Float64Array.from(x), rows, size);
  const packed: number[] = [];
  for (let i = 0; i < size; i++) for (let j = i; j < size; j++) packed.push(h[i * size + j]);
  return Float64Array.from(packed);
}

eachBackend("HessianAccumulator", (backend) => {
  /** Adds a batch of `rows` inputs to the sums. */
  function add(hessian: HessianAccumulator, x: Float32Array<ArrayBuffer>, rows: number): void {
    const buffer = upload(backend(), x);
    hessian.add(buffer, rows);
    buffer.destroy();
  }

  for (
    const [size, edge] of [[1, 8], [7, 8], [8, 8], [9, 8], [33, 8], [96, 32], [70, undefined], [
      600,
      undefined,
    ]] as const
  ) {
    it(`sums H for inputs of ${size} features over several batches, with ${edge === undefined ? "the default tile size" : `tiles of ${edge}`}`, async () => {
      const rows = [5, 1, 64];
      const total = rows.reduce((sum, count) => sum + count);
      const x = normals(total * size, size);
      const hessian = new HessianAccumulator(backend(), "hessian", size, edge);
      let row = 0;
      for (const count of rows) {
        add(hessian, x.slice(row * size, (row + count) * size), count);
        row += count;
      }
      const packed = await hessian.packedUpper();
      assert.deepEqual([packed.dtype, packed.shape], ["F32", [(size * (size + 1)) / 2]]);
      assertClose(asFloat32(packed.data), packedGram(x, total, size), 1e-6);
      hessian.destroy();
    });
  }

  it("adds the sums of parts in order, each with one rounding, and frees the second matrix", async () => {
    const size = 33, parts = [1, 2, 3].map((seed) => normals(9 * size, seed));
    const { counters } = backend(), live = counters.bytesLive;
    const sumOf = async (inputs: readonly Float32Array<ArrayBuffer>[]) => {
      const hessian = new HessianAccumulator(backend(), "hessian", size, 16);
      for (const [i, x] of inputs.entries()) {
        if (i > 0) hessian.endPart();
        add(hessian, x, 9);
      }
      const allocated = counters.bytesLive;
      hessian.addParts();
      if (inputs.length > 1) assert.equal(counters.bytesLive - live, (allocated - live) / 2);
      const sum = asFloat32((await hessian.packedUpper()).data);
      hessian.destroy();
      return sum;
    };
    const [first, second, third] = [
      await sumOf([parts[0]]),
      await sumOf([parts[1]]),
      await sumOf([parts[2]]),
    ];
    const expected = first.map((value, i) => Math.fround(Math.fround(value + second[i]) + third[i]));
    assert.deepEqual(await sumOf(parts), expected);
    assert.equal(counters.bytesLive, live);
  });

  it("adds up random combinations of the weighted inputs, from which errors can be estimated", async () => {
    const rows = 500, size = 33, k = 32, m = normals(4 * size, 3);
    for (const tokenWeights of ["none", "unit"] as const) {
      const hessian = new HessianAccumulator(backend(), "hessian", size, 16, { probes: k, tokenWeights });
      for (const seed of [1, 2]) add(hessian, normals(rows * size, seed), rows);
      const probe = (await hessian.probe())!, packed = asFloat32((await hessian.packedUpper()).data);
      assert.deepEqual([probe.dtype, probe.shape], ["F32", [k, size]]);
      const h = gram(Float64Array.from(asFloat32(probe.data)), k, size),
        exact = new Float64Array(size * size);
      for (let i = 0, at = 0; i < size; i++) {
        for (let j = i; j < size; j++) exact[i * size + j] = exact[j * size + i] = packed[at++];
      }
      // The outputs of four rows have four directions, so the standard deviation is √(2/(4·32)), or 12 %.
      const quotient = quadraticForm(m, h, 4, size) / quadraticForm(m, exact, 4, size);
      assert.ok(quotient > 0.6 && quotient < 1.4, `${quotient}`);
      hessian.destroy();
    }
  });

  it("has the probe of independent inputs if H is set to the identity", async () => {
    const size = 40, hessian = new HessianAccumulator(backend(), "hessian", size, 16, { probes: 32 });
    hessian.setIdentity();
    const values = asFloat32((await hessian.probe())!.data);
    assert.ok(values.every((value) => Math.abs(value) === Math.fround(1 / Math.sqrt(32))));
    assert.ok(
      Math.abs(values.reduce((sum, value) => sum + Math.sign(value), 0)) < 5 * Math.sqrt(values.length),
    );
    hessian.destroy();
    const without = new HessianAccumulator(backend(), "hessian", size);
    assert.equal(await without.probe(), undefined);
    without.destroy();
  });

  it("scales every token to a mean square of 1 with the weights unit, and leaves tokens of zeros out", async () => {
    const rows = 40, size = 33, x = normals(rows * size, 7);
    for (let i = 0; i < size; i++) {
      x[i] *= 1000; // a massive activation
      x[5 * size + i] = 0;
    }
    const scaled = x.map((value, at) => {
      const row = x.subarray(at - at % size, at - at % size + size);
      const square = row.reduce((sum, entry) => sum + entry ** 2, 0) / size;
      return square === 0 ? 0 : value / Math.sqrt(square);
    });
    const hessian = new HessianAccumulator(backend(), "hessian", size, 16, { tokenWeights: "unit" });
    add(hessian, x, rows);
    const packed = asFloat32((await hessian.packedUpper()).data);
    assertClose(packed, packedGram(scaled, rows, size), 1e-6);
    const diagonal = Array.from({ length: size }, (_, i) => packed[i * size - i * (i - 1) / 2]);
    const trace = diagonal.reduce((sum, entry) => sum + entry);
    assert.ok(Math.abs(trace / ((rows - 1) * size) - 1) < 1e-5, `trace ${trace}`);
    hessian.destroy();
  });

  it("is 0 before the first batch is added", async () => {
    const hessian = new HessianAccumulator(backend(), "hessian", 5, 2);
    assert.deepEqual(asFloat32((await hessian.packedUpper()).data), new Float32Array(15));
    hessian.destroy();
  });

  it("sums a batch of 70,000 rows", async () => {
    const rows = 70_000;
    const hessian = new HessianAccumulator(backend(), "hessian", 2, 2);
    add(hessian, Float32Array.from({ length: 2 * rows }, (_, i) => i % 2 === 0 ? 1 : 2), rows);
    const packed = await hessian.packedUpper();
    assert.deepEqual(asFloat32(packed.data), Float32Array.of(rows, 2 * rows, 4 * rows));
    hessian.destroy();
  });
});
