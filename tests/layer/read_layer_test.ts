/**
 * Tests reading a request body into matrices on a device, on every backend. Some sizes need several tiles, or
 * several strips (ranges of rows that are received at once). A refused body must leave no buffer allocated.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type Backend, OutOfDeviceMemoryError } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { readMatrix } from "../../src/device/tiled_matrix.ts";
import { readLayer, readStatistics } from "../../src/layer/read_layer.ts";
import type { LayerOperands } from "../../src/layer/methods.ts";
import { layerQuerySchema, resolveParameters } from "../../src/protocol/parameters.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { assertClose } from "../support/assert_close.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadU32 } from "../support/device.ts";
import { normals, uniform } from "../../scripts/fixtures/random.ts";
import { memoryBackend } from "../host/memory_backend.ts";
import { bytes, file, floats, packBits, packUpper, source } from "./bodies.ts";

const EDGE = 32;
/** Magnitude needs no statistics, but accepts them. */
const parameters = resolveParameters(layerQuerySchema.parse({ method: "magnitude" }));

/** Returns an (n, n) matrix with its entries below the diagonal set to 0. */
function upper(matrix: ArrayLike<number>, n: number): Float64Array {
  return Float64Array.from({ length: n * n }, (_, i) => i % n >= Math.floor(i / n) ? matrix[i] : 0);
}

eachBackend("readLayer", (backend) => {
  async function withLayer(
    tensors: Record<string, HostTensor>,
    check: (operands: LayerOperands, backend: Backend) => Promise<void>,
  ) {
    const body = file(tensors), before = backend().counters.bytesLive;
    const bodySource = source(body);
    const request = { source: bodySource, totalBytes: body.length, parameters };
    const received = await readLayer(backend(), request, EDGE);
    assert.equal(received.parameters.answerDtype, tensors.weight.dtype);
    try {
      await check(received.operands, backend());
    } finally {
      received.destroy();
    }
    assert.equal(backend().counters.bytesLive, before);
    assert.ok(bodySource.closed);
  }

  for (const dtype of ["F32", "F16", "BF16"] as const) {
    for (const [rows, cols] of [[1, 1], [3, 31], [32, 32], [33, 65], [70, 7]]) {
      it(`reads a ${rows}×${cols} weight in ${dtype}`, async () => {
        const weight = floats(dtype, [rows, cols], normals(rows * cols, 1));
        await withLayer({ weight }, async ({ layer, hessian }, backend) => {
          assert.deepEqual([layer.weight.rows, layer.weight.cols], [rows, cols]);
          assertSame(await readMatrix(backend, layer.weight), bytesToFloats(weight.data, dtype));
          assert.equal(hessian, undefined);
        });
      });
    }
  }

  for (const n of [1, 31, 32, 33, 100]) {
    const matrix = correlatedHessian(n, { seed: n });
    const weight = floats("F32", [2, n], normals(2 * n, 2));

    it(`reads a whole hessian of order ${n} that precedes the weight`, async () => {
      await withLayer({ hessian: floats("F32", [n, n], matrix), weight }, async ({ hessian }, backend) => {
        assertSame(upper(await readMatrix(backend, hessian!), n), upper(matrix, n));
      });
    });

    it(`reads a packed hessian of order ${n}`, async () => {
      const packed = floats("F32", [(n * (n + 1)) / 2], packUpper(matrix, n));
      await withLayer({ weight, hessian_upper: packed }, async ({ hessian }, backend) => {
        assertSame(upper(await readMatrix(backend, hessian!), n), upper(matrix, n));
      });
    });

    for (const [tokens, dtype] of [[1, "F32"], [5, "BF16"], [1025, "F16"]] as [number, FloatDtype][]) {
      it(`computes the hessian from ${tokens} tokens of ${n} inputs in ${dtype}`, async () => {
        const inputs = floats(dtype, [tokens, n], normals(tokens * n, 3));
        const x = bytesToFloats(inputs.data, dtype), expected = new Float64Array(n * n);
        for (let t = 0; t < tokens; t++) {
          for (let i = 0; i < n; i++) {
            for (let j = i; j < n; j++) expected[i * n + j] += x[t * n + i] * x[t * n + j];
          }
        }
        await withLayer({ inputs, weight }, async ({ hessian }, backend) => {
          assertClose(upper(await readMatrix(backend, hessian!), n), expected, 2e-6);
        });
      });
    }
  }

  for (const [rows, cols] of [[1, 1], [5, 31], [3, 32], [300, 45]]) {
    it(`reads a ${rows}×${cols} mask stored as bits or as bytes`, async () => {
      const next = uniform(rows), kept = Uint8Array.from({ length: rows * cols }, () => next() < 0.4 ? 0 : 1);
      const weight = floats("F32", [rows, cols], normals(rows * cols, 4));
      // A client may set padding bits to any value.
      const bits = packBits(kept, rows, cols), rowBytes = Math.ceil(cols / 8);
      if (cols % 8) { for (let r = 0; r < rows; r++) bits[r * rowBytes + rowBytes - 1] |= 0xff << cols % 8; }
      const words = Math.ceil(cols / 32);
      const expected = new Uint32Array(rows * words), perColumn = new Uint32Array(cols);
      kept.forEach((keep, i) => {
        const r = Math.floor(i / cols), c = i % cols;
        if (keep) return;
        expected[r * words + (c >>> 5)] |= 1 << (c & 31);
        perColumn[c]++;
      });
      for (const mask of [bytes("U8", [rows, rowBytes], bits), bytes("BOOL", [rows, cols], kept)]) {
        await withLayer({ mask, weight }, async ({ layer }, backend) => {
          assert.deepEqual(await downloadU32(backend, layer.forced!.bits), expected);
          assert.deepEqual(layer.forced!.perColumn, perColumn);
        });
      }
    });
  }

  describe("with an invalid body, after which no buffer may stay allocated", () => {
    const n = 40, weight = normals(3 * n, 5), hessian = correlatedHessian(n, { seed: 6 });

    async function refuses(tensors: Record<string, HostTensor>, expected: object, cut = 0) {
      const whole = file(tensors), before = backend().counters.bytesLive;
      const body = source(whole.subarray(0, whole.length - cut));
      const request = { source: body, totalBytes: whole.length, parameters };
      await assert.rejects(readLayer(backend(), request, EDGE), expected);
      assert.equal(backend().counters.bytesLive, before);
      assert.ok(body.closed);
    }

    for (const dtype of ["F32", "F16", "BF16"] as const) {
      it(`refuses a weight in ${dtype} with non-finite elements, and names the first of them`, async () => {
        const bad = weight.with(2 * n + 7, NaN).with(n + 39, Infinity);
        await refuses({ weight: floats(dtype, [3, n], bad) }, {
          code: "non_finite",
          members: { tensor: "weight", index: [1, 39] },
        });
      });
    }

    it("refuses statistics with non-finite elements", async () => {
      const good = floats("F32", [3, n], weight);
      const bad = hessian.with(33 * n + 34, NaN);
      await refuses({ weight: good, hessian: floats("F32", [n, n], bad) }, {
        members: { tensor: "hessian", index: [33, 34] },
      });
      const packed = packUpper(hessian, n).with(500, -Infinity);
      await refuses({ hessian_upper: floats("F32", [packed.length], packed), weight: good }, {
        members: { tensor: "hessian_upper", index: [500] },
      });
      const inputs = normals(50 * n, 7).with(45 * n + 2, NaN);
      await refuses({ weight: good, inputs: floats("BF16", [50, n], inputs) }, {
        members: { tensor: "inputs", index: [45, 2] },
      });
    });

    for (const [i, j] of [[1, 0], [39, 3], [39, 38], [35, 33], [33, 10]]) {
      it(`refuses a hessian whose element [${i}, ${j}] differs from element [${j}, ${i}]`, async () => {
        const bad = hessian.with(
          i * n + j,
          hessian[i * n + j] + 0.01 * Math.sqrt(hessian[i * n + i] * hessian[j * n + j]),
        );
        const tensors = { weight: floats("F32", [3, n], weight), hessian: floats("F32", [n, n], bad) };
        await refuses(tensors, { code: "not_symmetric", members: { tensor: "hessian", index: [i, j] } });
      });
    }

    it("refuses a body that ends early", async () => {
      const tensors = { weight: floats("F32", [3, n], weight), hessian: floats("F32", [n, n], hessian) };
      await refuses(tensors, { name: "SafetensorsError", kind: "truncated" }, 100);
    });

    it("refuses tensors of the wrong shape", async () => {
      await refuses({ weight: floats("F32", [n], weight.subarray(0, n)) }, { code: "shape_mismatch" });
    });
  });

  it("reads a body that has statistics and no layer", async () => {
    const n = 50, matrix = correlatedHessian(n, { seed: 8 });
    const body = file({ hessian: floats("F32", [n, n], matrix) });
    const { hessian, validation } = await readStatistics(backend(), source(body), {
      totalBytes: body.length,
      edge: EDGE,
    });
    assertSame(upper(await readMatrix(backend(), hessian), n), upper(matrix, n));
    assert.equal(validation, undefined);
    hessian.destroy();
  });

  it("reads validation statistics beside the statistics, in the body of a layer and in one without a layer", async () => {
    const n = 45, matrix = correlatedHessian(n, { seed: 8 }), other = correlatedHessian(n, { seed: 9 });
    const statistics = {
      validation_hessian_upper: floats("F32", [(n * (n + 1)) / 2], packUpper(other, n)),
      hessian: floats("F32", [n, n], matrix),
    };
    const body = file(statistics), options = { totalBytes: body.length, edge: EDGE };
    const { hessian, validation } = await readStatistics(backend(), source(body), options);
    assertSame(upper(await readMatrix(backend(), hessian), n), upper(matrix, n));
    assertSame(upper(await readMatrix(backend(), validation!), n), upper(other, n));
    for (const read of [hessian, validation]) read!.destroy();
    const weight = floats("F32", [2, n], normals(2 * n, 2));
    await withLayer({ ...statistics, weight }, async (received, backend) => {
      assertSame(upper(await readMatrix(backend, received.hessian!), n), upper(matrix, n));
      assertSame(upper(await readMatrix(backend, received.validation!), n), upper(other, n));
    });
  });

  it("names the validation statistics if an element is not finite or not symmetric", async () => {
    const n = 40, hessian = floats("F32", [n, n], correlatedHessian(n, { seed: 8 }));
    const weight = floats("F32", [2, n], normals(2 * n, 2));
    const defects = [[NaN, "non_finite"], [1e6, "not_symmetric"]] as const;
    for (const [value, code] of defects) {
      const matrix = correlatedHessian(n, { seed: 9 });
      matrix[35 * n + 3] = value;
      const body = file({ weight, hessian, validation_hessian: floats("F32", [n, n], matrix) });
      const request = { source: source(body), totalBytes: body.length, parameters };
      const live = backend().counters.bytesLive;
      await assert.rejects(
        readLayer(backend(), request, EDGE),
        { code, members: { tensor: "validation_hessian", index: [35, 3] } },
      );
      assert.equal(backend().counters.bytesLive, live);
    }
  });
});

describe("readLayer on a device without enough memory", () => {
  it("frees all its buffers, whichever allocation fails", async () => {
    const n = 100, shape = [n, n];
    const values = normals(n * n, 9);
    const mask = bytes("U8", [n, 13], new Uint8Array(13 * n));
    const statistics: Record<string, HostTensor> = {
      hessian: floats("F32", shape, values),
      hessian_upper: floats("F32", [5050], values.subarray(0, 5050)),
      inputs: floats("F16", shape, values),
    };
    for (const [name, tensor] of Object.entries(statistics)) {
      const body = file({ weight: floats("BF16", shape, values), [name]: tensor, mask });
      // The capacity shrinks step by step, so that each allocation in turn is the first one to fail.
      for (let capacity = 200_000; capacity >= 0; capacity -= 500) {
        const backend = memoryBackend(capacity), bodySource = source(body);
        const request = { source: bodySource, totalBytes: body.length, parameters };
        const received = await readLayer(backend, request, EDGE).catch((error) => error);
        if (!(received instanceof Error)) received.destroy();
        else if (
          !(received instanceof OutOfDeviceMemoryError ||
            (received as { code?: string }).code === "non_finite")
        ) {
          throw received;
        }
        assert.equal(backend.counters.bytesLive, 0);
        assert.ok(bodySource.closed);
      }
    }
  });
});

describe("readLayer, given more strips than it has slots for pending checks,", () => {
  it("checks them all", async () => {
    const backend = await createCpuBackend();
    // Tiles of one row make strips of one row.
    const rows = 5000, values = new Float32Array(rows).fill(1);
    const read = async (weight: Float32Array) => {
      const body = file({ weight: floats("F16", [rows, 1], weight) });
      return await readLayer(backend, { source: source(body), totalBytes: body.length, parameters }, 1);
    };
    const received = await read(values);
    assertSame(await readMatrix(backend, received.operands.layer.weight), values);
    received.destroy();
    for (const row of [0, 4095, 4096, rows - 1]) {
      const members = { tensor: "weight", index: [row, 0] };
      await assert.rejects(read(values.with(row, Infinity)), { code: "non_finite", members });
    }
    assert.equal(backend.counters.bytesLive, 0);
    await backend.dispose();
  });
});
