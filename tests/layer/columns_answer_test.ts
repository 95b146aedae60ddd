/** Tests layers that lose whole columns, from the tensors of a request to the checked answer. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { decodeAnswer } from "../../src/client/answers/layer_answer.ts";
import type { LayerTensors } from "../../src/client/layer_file.ts";
import type { Backend } from "../../src/device/backend.ts";
import { handleLayer } from "../../src/layer/handle_layer.ts";
import { readWholeAnswer } from "../../src/layer/write_layer.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { layerQuerySchema, resolveParameters } from "../../src/protocol/parameters.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import { referenceColumns } from "../reference/columns.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { makeLayer } from "../support/layers.ts";
import { bytes, file, floats, source } from "./bodies.ts";

const ROWS = 13,
  COLS = 42,
  QUERY: LayerQuery = { method: "obc", pattern: "columns", column_group: 3, sparsity: 0.4 };
const HOST = makeLayer(ROWS, COLS, { seed: 4, tokens: 60, dead: [5] });

function tensorsOf(dtype: FloatDtype = "F32"): LayerTensors {
  const weight = floats(dtype, [ROWS, COLS], HOST.weight);
  return { weight, hessian: floats("F32", [COLS, COLS], HOST.hessian) };
}

/** Sends a layer through the whole path of a request, and checks the answer as a client does. */
async function answerOf(backend: Backend, tensors: LayerTensors, query: LayerQuery) {
  const live = backend.counters.bytesLive, body = file({ ...tensors });
  const parameters = resolveParameters(layerQuerySchema.parse(query));
  const request = { source: source(body), totalBytes: body.length, parameters };
  const answer = await handleLayer(request, { backend, clock: () => 0 });
  const layer = decodeAnswer(await readWholeAnswer(answer), { query, tensors });
  answer.destroy();
  assert.equal(backend.counters.bytesLive, live, "bytes left allocated");
  return layer;
}

eachBackend("a layer that loses columns", (backend) => {
  it("is answered with the columns that remain and their numbers, in every dtype", async () => {
    const expected = referenceColumns(HOST, { sets: 6, group: 3, damping: 0.01 });
    const kept = Array.from({ length: COLS }, (_, j) => j).filter((j) => !expected.removed.includes(j));
    const wanted = expected.q.filter((_, i) => kept.includes(i % COLS));
    for (const [dtype, tolerance] of [["F32", 1e-4], ["BF16", 1e-2]] as const) {
      const layer = await answerOf(backend(), tensorsOf(), { ...QUERY, dtype });
      assert.deepEqual(layer.kept!.shape, [24]);
      assert.deepEqual([...new Uint32Array(layer.kept!.data.slice().buffer)], kept);
      assert.deepEqual([layer.weight.dtype, layer.weight.shape], [dtype, [ROWS, 24]]);
      assertClose(bytesToFloats(layer.weight.data, dtype), wanted, tolerance, { label: dtype });
      const { pattern, zeros, loss, rows, cols } = layer.report;
      assert.deepEqual([pattern, zeros, rows, cols], ["columns", 18 * ROWS, ROWS, COLS]);
      assertClose([loss!], [expected.loss], 5e-3);
    }
  });

  it("is the same if its tensors are in host memory", async () => {
    const layer = await new DevicePruner(backend()).pruneLayer(tensorsOf(), QUERY);
    const { report: _, ...answered } = await answerOf(backend(), tensorsOf(), QUERY);
    const { report: __, ...pruned } = layer;
    assert.deepEqual(pruned, answered);
  });

  it("may have validation statistics and a target, and is then measured by them", async () => {
    const validation_hessian = floats(
      "F32",
      [COLS, COLS],
      makeLayer(1, COLS, { seed: 9, tokens: 80 }).hessian,
    );
    const target = floats("F32", [ROWS, COLS], HOST.weight);
    const { report } = await answerOf(backend(), { ...tensorsOf(), validation_hessian, target }, QUERY);
    assert.ok(report.validation_error! > 0 && report.target_change !== undefined);
  });

  it("is refused if its columns are not whole sets, or if it has a mask", async () => {
    const live = backend().counters.bytesLive;
    await assert.rejects(
      answerOf(backend(), tensorsOf(), { ...QUERY, column_group: 4 }),
      /tensor weight: expected \[out_features, a multiple of 4\], because column_group is 4, got \[13, 42\]/,
    );
    const mask = bytes("BOOL", [ROWS, COLS], new Uint8Array(ROWS * COLS).fill(1));
    await assert.rejects(
      answerOf(backend(), { ...tensorsOf(), mask }, QUERY),
      /tensor mask: expected no mask of single weights, because pattern is columns/,
    );
    assert.equal(backend().counters.bytesLive, live);
  });
});
