/**
 * Tests that the bound for the device memory of a request exceeds the measured peak of every method, and that
 * too large layers are refused.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import type { Backend } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { checkDeviceBytes, peakDeviceBytes } from "../../src/layer/device_bytes.ts";
import { handleLayer } from "../../src/layer/handle_layer.ts";
import { layerQuerySchema, resolveParameters } from "../../src/protocol/parameters.ts";
import { makeLayer } from "../support/layers.ts";
import { file, floats, source } from "./bodies.ts";

const ROWS = 300, COLS = 260;
const { hessian: validation } = makeLayer(ROWS, COLS, { seed: 3, tokens: 400 });
const QUERIES: readonly Record<string, unknown>[] = [
  { method: "sparsegpt" },
  { method: "sparsegpt", refit: 30 },
  { method: "sparsegpt", bits: 4, order: "activation" },
  { method: "sparsegpt", bits: 4, group_size: 64, refit: 5, pattern: "2:4" },
  { method: "magnitude" },
  { method: "wanda", refit: 3 },
  { method: "adaprune" },
  { method: "obc" },
  { method: "obc", pattern: "columns", sparsity: 0.4 },
  { method: "obc", pattern: "columns", sparsity: 0.4, column_group: 65 },
  { method: "obc", pattern: "columns", sparsity: 0.1, damping: "auto" },
  { method: "alps" },
  { method: "alps", effort: "fast", bits: 3, pattern: "4:8" },
  { method: "alps", bits: 4, group_size: 32 },
  { method: "sparsegpt", target_step: 0.5 },
  { method: "sparsegpt", bits: 4, order: "activation", target_step: 0.5 },
  { method: "magnitude", target_step: 0.5 },
  { method: "alps", target_step: 0.5 },
  { method: "sparsegpt", target_step: "auto" },
  { method: "alps", damping: "auto", target_step: "auto" },
  { method: "sparsegpt", damping: "auto" },
  { method: "sparsegpt", damping: "auto", bits: 4, order: "activation", target_step: 0.5 },
  { method: "sparsegpt", damping: "auto", bits: 4 },
  { method: "adaprune", damping: "auto" },
  { method: "alps", damping: "auto", target_step: 0.5 },
];

/** Solves one request and returns the most device memory that it used at any time. */
async function measurePeak(
  query: Record<string, unknown>,
  tileEdge?: number,
  hasValidation?: boolean,
): Promise<number> {
  const backend = await createCpuBackend();
  try {
    const { weight, hessian } = makeLayer(ROWS, COLS, { seed: 2, tokens: 400 });
    const body = file({
      weight: floats("F32", [ROWS, COLS], weight),
      hessian: floats("F32", [COLS, COLS], hessian),
      ...query.target_step !== undefined && { target: floats("F32", [ROWS, COLS], weight) },
      ...hasValidation && { validation_hessian: floats("F32", [COLS, COLS], validation) },
      ...query.target_step === "auto" && { validation_target: floats("F32", [ROWS, COLS], weight) },
    });
    const parameters = resolveParameters(layerQuerySchema.parse(query));
    const request = { source: source(body), totalBytes: body.length, parameters };
    const answer = await handleLayer(request, { backend, clock: () => 0, tileEdge });
    for await (const _ of answer.chunks());
    answer.destroy();
    return backend.counters.bytesPeak;
  } finally {
    await backend.dispose();
  }
}

describe("peakDeviceBytes()", () => {
  for (const query of QUERIES) {
    it(`is at least the memory that the request ${JSON.stringify(query)} uses`, async () => {
      const resolved = resolveParameters(layerQuerySchema.parse(query));
      const parameters = { ...resolved, targetStep: resolved.target_step };
      const hasValidationTarget = query.target_step === "auto";
      for (const edge of [undefined, 128]) {
        for (
          const hasValidation of query.damping === "auto" || hasValidationTarget ? [true] : [false, true]
        ) {
          const peak = await measurePeak(query, edge, hasValidation);
          const shape = { rows: ROWS, cols: COLS, edge: edge ?? 4096, hasValidation, hasValidationTarget };
          const bound = peakDeviceBytes(shape, parameters, { kind: "cpu", maxBufferBytes: 2 ** 31 });
          assert.ok(peak <= bound, `${peak} bytes were used, but the bound is ${bound}`);
          // The bound of obc has room for the largest batch of rows, which this layer does not need.
          if (query.method !== "obc") assert.ok(peak > bound / 3, `${peak} bytes of ${bound} were used`);
        }
      }
    });
  }

  it("is larger for alps than for a refit, and smallest for sparsegpt", () => {
    const shape = { rows: 4096, cols: 4096, edge: 4096 };
    const [sparsegpt, refit, alps] = [{}, { refit: 10 }, { method: "alps" }].map((query) =>
      peakDeviceBytes(shape, resolveParameters(layerQuerySchema.parse(query)), {
        kind: "cpu",
        maxBufferBytes: 2 ** 31,
      })
    );
    assert.ok(sparsegpt < refit && refit < alps, `${sparsegpt}, ${refit}, ${alps}`);
    assert.ok(alps < 2 ** 30, `${alps} bytes`);
  });
});

describe("checkDeviceBytes()", () => {
  const shape = { rows: 16_384, cols: 16_384, edge: 4096 };
  const parameters = resolveParameters(layerQuerySchema.parse({ method: "alps" }));
  const device = (memoryBytes?: number): Pick<Backend, "kind" | "maxBufferBytes" | "memoryBytes"> => (
    { kind: "cpu", maxBufferBytes: 2 ** 31, memoryBytes }
  );

  it("refuses a layer that cannot fit, and names the method, the shape and both sizes", () => {
    assert.throws(() => checkDeviceBytes(device(2 ** 32), shape, parameters), {
      name: "OutOfDeviceMemoryError",
      message:
        /^alps: a layer of 16384×16384 needs up to \d+ MiB of device memory, but the device has 4096 MiB$/,
    });
  });

  it("accepts every layer on a device whose memory is unknown, or large enough", () => {
    checkDeviceBytes(device(), shape, parameters);
    checkDeviceBytes(device(2 ** 36), shape, parameters);
  });
});
