/**
 * Tests the overhead of a layer on WebGPU. For each phase, it counts the dispatches, the buffers, and the
 * bytes that cross the bus between CPU and GPU. Nothing is read back during a factorisation or a solve, and
 * 16-bit weights cross the bus as 16 bits. A larger figure is a regression. If a figure becomes smaller,
 * lower the number in this file.
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { readLayer } from "../../../src/layer/read_layer.ts";
import { MIN_CHECK_SLOTS } from "../../../src/layer/sinks/upload.ts";
import { encodeAnswer } from "../../../src/layer/write_layer.ts";
import { solveSparseGpt } from "../../../src/layer/solvers/sparsegpt.ts";
import { layerQuerySchema, resolveParameters } from "../../../src/protocol/parameters.ts";
import type { Pattern } from "../../../src/tensor/pattern.ts";
import type { FloatDtype } from "../../../src/tensor/dtype.ts";
import type { WebGpuBackend } from "../../../src/device/webgpu/backend.ts";
import { report } from "../../client/fake_host.ts";
import { file, floats, packUpper, source } from "../../layer/bodies.ts";
import { correlatedHessian } from "../../reference/hessian.ts";
import { makeLayer, uploadHessian, uploadLayer } from "../../support/layers.ts";
import { normals } from "../../../scripts/fixtures/random.ts";
import { webgpuSuite } from "./suite.ts";

/** The work that one phase queues, and the buffers that it creates. */
interface Work {
  readonly dispatches: number;
  readonly bytesWritten: number;
  readonly bytesRead: number;
  readonly buffers: number;
}

/** Runs `work`, and counts what it queues on `backend` and the buffers that it creates. */
async function measure<T>(backend: WebGpuBackend, work: () => Promise<T>): Promise<[result: T, work: Work]> {
  const before = { ...backend.counters };
  let buffers = 0;
  const create = backend.createBuffer.bind(backend);
  backend.createBuffer = (label, byteLength) => {
    buffers++;
    return create(label, byteLength);
  };
  try {
    const result = await work();
    const { dispatches, bytesWritten, bytesRead } = backend.counters;
    return [result, {
      dispatches: dispatches - before.dispatches,
      bytesWritten: bytesWritten - before.bytesWritten,
      bytesRead: bytesRead - before.bytesRead,
      buffers,
    }];
  } finally {
    backend.createBuffer = create;
  }
}

const PATTERNS: Readonly<Record<string, Pattern>> = {
  "50 %": { kind: "unstructured" },
  "2:4": { kind: "n:m", keep: 2, group: 4 },
  "4:8": { kind: "n:m", keep: 4, group: 8 },
};

/**
 * The expected dispatches and buffers of each layer and phase. The bytes read and written are not listed,
 * because they follow from the sizes. A kernel factors or prunes one block of 128 columns at a time, and a
 * matrix product computes one panel of at most 512 columns.
 */
const LAYERS = {
  "512×512 (one panel and four blocks)": {
    size: [512, 512],
    counts: {
      "factor": { dispatches: 13, buffers: 7 },
      "50 %": { dispatches: 23, buffers: 9 },
      "2:4": { dispatches: 14, buffers: 9 },
      "4:8": { dispatches: 14, buffers: 9 },
      "50 % with its error": { dispatches: 29, buffers: 10 },
      "2:4 with its error": { dispatches: 20, buffers: 10 },
      "4:8 with its error": { dispatches: 20, buffers: 10 },
    },
  },
  "96×1100 (three panels and nine blocks, of which the last is partial)": {
    size: [96, 1100],
    counts: {
      "factor": { dispatches: 30, buffers: 7 },
      "50 %": { dispatches: 53, buffers: 9 },
      "2:4": { dispatches: 34, buffers: 9 },
      "4:8": { dispatches: 34, buffers: 9 },
      "50 % with its error": { dispatches: 68, buffers: 10 },
      "2:4 with its error": { dispatches: 49, buffers: 10 },
      "4:8 with its error": { dispatches: 49, buffers: 10 },
    },
  },
} as const;

webgpuSuite("the work queued on webgpu", (backend) => {
  for (const [title, { size: [rows, cols], counts }] of Object.entries(LAYERS)) {
    it(`matches the recorded counts for a layer of ${title}`, async () => {
      const layer = makeLayer(rows, cols, { seed: 1, tokens: 64 });
      const hessian = uploadHessian(backend(), layer.hessian, cols);
      const [factored, { bytesWritten, bytesRead, ...factoring }] = await measure(
        backend(),
        () => factor(backend(), hessian, { damping: 0.01, blocksize: 128 }),
      );
      strictEqual(bytesWritten, 4 * cols, "the damped diagonal");
      strictEqual(bytesRead, 4 * cols + 4, "the diagonal before and the status after the factorisation");

      const found: Record<string, Pick<Work, "dispatches" | "buffers">> = { factor: factoring };
      for (const relativeError of [false, true]) {
        for (const [name, pattern] of Object.entries(PATTERNS)) {
          const operands = uploadLayer(backend(), layer);
          const options = { sparsity: 0.5, pattern, relativeError };
          const [solution, { bytesWritten, bytesRead, ...solving }] = await measure(
            backend(),
            () => solveSparseGpt(backend(), operands, factored, options),
          );
          strictEqual(bytesWritten, 0);
          strictEqual(
            bytesRead,
            4 * rows * (relativeError ? 4 : 2),
            "two sums per row at the end, and two more for the relative error",
          );
          found[relativeError ? `${name} with its error` : name] = solving;
          solution.destroy();
          operands.destroy();
        }
      }
      factored.destroy();
      deepStrictEqual(found, counts);
    });
  }
});

webgpuSuite("the bytes that cross the bus on webgpu", (backend) => {
  const rows = 64, cols = 96, entries = rows * cols;
  const hessian = correlatedHessian(cols, { seed: 1 });

  /**
   * Sends a request with a weight in `dtype` and packed statistics (the Hessian) through a whole solve.
   * Returns the bytes that are written for the weight and the bytes that are read back for the answer. The
   * bytes written for the statistics are subtracted, and so are those for the slots in which the device
   * reports flaws of the input.
   */
  async function transferLayer(dtype: FloatDtype): Promise<{ weightIn: number; answerOut: number }> {
    const body = file({
      weight: floats(dtype, [rows, cols], normals(entries, 2)),
      hessian_upper: floats("F32", [(cols * (cols + 1)) / 2], packUpper(hessian, cols)),
    });
    const parameters = resolveParameters(layerQuerySchema.parse({}));
    const request = { source: source(body), totalBytes: body.length, parameters };
    const [received, reading] = await measure(backend(), () => readLayer(backend(), request, 128));
    const { layer, hessian: statistics } = received.operands;
    const factored = await factor(backend(), statistics!, { damping: 0.01, blocksize: 32 });
    const solution = await solveSparseGpt(backend(), layer, factored, {
      sparsity: 0.5,
      pattern: PATTERNS["2:4"],
      relativeError: false,
    });
    const [, answering] = await measure(backend(), async () => {
      const answer = encodeAnswer(backend(), solution, dtype, report(rows, cols));
      for await (const _chunk of answer.chunks());
    });
    for (const resource of [solution, factored, received]) resource.destroy();
    strictEqual(answering.bytesWritten, 0);
    const statisticsIn = 4 * (cols * (cols + 1)) / 2, slots = 4 * MIN_CHECK_SLOTS;
    return { weightIn: reading.bytesWritten - statisticsIn - slots, answerOut: answering.bytesRead };
  }

  for (const [dtype, width] of [["F32", 4], ["F16", 2], ["BF16", 2]] as const) {
    it(`are ${width} per element in each direction for a weight in ${dtype}, plus the mask of the answer`, async () => {
      deepStrictEqual(await transferLayer(dtype), {
        weightIn: width * entries,
        answerOut: width * entries + entries / 8,
      });
    });
  }
});
