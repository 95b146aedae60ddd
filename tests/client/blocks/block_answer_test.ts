/** Tests the answer for a block: its file, and how a client checks it. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Report } from "../../../src/protocol/messages.ts";
import {
  checkSolved,
  decodeBlock,
  encodeBlock,
  type SolvedRequest,
} from "../../../src/client/blocks/block_answer.ts";
import type { SolvedBlock, SolvedBlockLayer } from "../../../src/client/blocks/solved_block.ts";
import type { LayerQuery } from "../../../src/protocol/layer_query.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { bytes, floats } from "../../layer/bodies.ts";

const REPORT: Report = {
  ...{ method: "sparsegpt", rows: 1, cols: 4, pattern: "unstructured", sparsity: 0.5, zeros: 2 },
  ...{ loss: 1, relative_error: null, damping: 0.01, iterations: 0, refit_steps: 0, notes: [] },
  ...{ backend: "cpu", adapter: "x", factor_reused: false },
  seconds: { read: 0, factor: 0, solve: 0, refit: 0, total: 0 },
};
const row = (...values: number[]) => floats("F32", [1, 4], Float32Array.from(values));
const bits = (keeps: number) => bytes("U8", [1, 1], Uint8Array.of(keeps));
const BLOCK: SolvedBlock = {
  layers: [
    {
      name: "a.weight",
      tokens: 3,
      report: REPORT,
      weight: row(0, 0, 1, 2),
      mask: bits(0b1100),
      probe: row(1, -1, 2, 0),
    },
    {
      name: "b.weight",
      report: REPORT,
      weight: row(0, 1, 0, 1),
      mask: bits(0b1010),
      quantized: {
        codes: bytes("U8", [1, 4], Uint8Array.of(0, 1, 0, 1)),
        scales: floats("F32", [1, 1], Float32Array.of(1)),
        zeros: floats("F32", [1, 1], Float32Array.of(0)),
      },
    },
  ],
  error: NaN,
  decision: { areKept: true, errors: { withTargets: 0.5, without: NaN } },
  reconstructed: {
    ...{ epochs: 2, before: 1, after: 0.5, keptEpoch: 2, seconds: 1.5 },
    tensors: new Map([["norm.bias", row(1, 2, 3, 4)]]),
  },
};

const REQUEST: SolvedRequest = {
  queries: { "a.weight": {} },
  tensors: ["a.weight", "b.weight", "norm.bias"].map((name) => [name, [1, 4]]),
  ...{ isReconstructed: false, isMeasured: false },
};

function joined(parts: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

describe("the answer for a block", () => {
  it("has the tensors and the figures of the block", () => {
    const decoded = decodeBlock(joined(encodeBlock(BLOCK)));
    assert.deepEqual(JSON.parse(JSON.stringify(decoded)), JSON.parse(JSON.stringify(BLOCK)));
    assert.equal(decoded.error, NaN);
    assert.deepEqual([...decoded.reconstructed!.tensors.keys()], ["norm.bias"]);
    assert.deepEqual(decodeBlock(joined(encodeBlock({ layers: [] }))), { layers: [] });
  });

  it("is refused if it is malformed or lacks a tensor", () => {
    const whole = joined(encodeBlock(BLOCK)), block = JSON.stringify({ layers: BLOCK.layers });
    const malformed = [
      whole.slice(0, -1),
      encode({}),
      encode({}, { block: "{" }),
      encode({}, { block: "{}" }),
    ];
    for (const body of malformed) {
      assert.throws(() => decodeBlock(body), /answer of \/v1\/blocks: it is not a pruned block/);
    }
    assert.throws(() => decodeBlock(encode({}, { block })), /the tensor a\.weight is missing/);
  });

  it("is refused if a layer is missing, is not finite, or has fewer zeros than its report says", () => {
    const [{ ...layer }] = BLOCK.layers;
    const check = (weight: typeof layer.weight) => checkSolved({ layers: [{ ...layer, weight }] }, REQUEST);
    check(layer.weight);
    assert.throws(() => checkSolved({ layers: [] }, REQUEST), /the layer a\.weight is missing/);
    assert.throws(() => check(row(0, 0, 1, Infinity)), /a\.weight has an entry that is not finite/);
    assert.throws(() => check(row(0, 1, 1, 1)), /a\.weight has 1 zeros, but its report says 2/);
    assert.throws(() => check(bytes("U8", [1, 4], new Uint8Array(4))), /the weight a\.weight is U8/);
  });

  it("is refused if a layer has fewer zeros than its parameters ask for, or lacks its codes", () => {
    const [sparse, { quantized, ...dense }] = BLOCK.layers, report = { ...REPORT, zeros: 0 };
    const check = (layer: SolvedBlockLayer, query: LayerQuery) =>
      checkSolved({ layers: [layer] }, { ...REQUEST, queries: { [layer.name]: query } });
    const lie = { ...sparse, weight: row(1, 2, 3, 4), report };
    check(lie, { sparsity: 0 });
    assert.throws(() => check(lie, {}), /the layer a\.weight has 0 zeros, but the query asks for 2/);
    assert.throws(() => check(lie, { pattern: "2:4" }), /has 0 zeros, but the query asks for 2/);
    check({ ...dense, quantized }, { bits: 4 });
    assert.throws(() => check(dense, { bits: 4 }), /the layer b\.weight: .* it has no codes/);
    const other = { ...dense, quantized, weight: row(0, 2, 0, 1) };
    assert.throws(() => check(other, { bits: 4 }), /is 2, but its code says 1/);
  });

  it("is refused if a figure is missing, or if a trained tensor is not one of the block", () => {
    const request = { ...REQUEST, isReconstructed: true, isMeasured: true };
    const check = (trained: Record<string, HostTensor>, changes: Partial<SolvedBlock> = {}) => {
      const reconstructed = { ...BLOCK.reconstructed!, tensors: new Map(Object.entries(trained)) };
      checkSolved({ ...BLOCK, reconstructed, ...changes }, request);
    };
    const norm = row(1, 2, 3, 4);
    check({ "norm.bias": norm, "a.weight": row(0, 3, 0, 1) });
    assert.throws(() => check({}, { error: undefined }), /the error on the held-out windows is missing/);
    assert.throws(() => check({}, { reconstructed: undefined }), /the reconstruction is missing/);
    assert.throws(() => check({ "embed.weight": norm }), /the trained tensor embed\.weight is not one of/);
    assert.throws(
      () => check({ "norm.bias": floats("F32", [4], new Float32Array(4)) }),
      /is \[4\], not \[1,4\]/,
    );
    assert.throws(
      () => check({ "norm.bias": row(1, NaN, 3, 4) }),
      /norm\.bias has an entry that is not finite/,
    );
    assert.throws(
      () => check({ "a.weight": row(0, 3, 1, 1) }),
      /a\.weight has 1 zeros, but the pruned weight has 2/,
    );
  });
});
