/** Tests the answer for a block: its file, and how a client checks it. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Report } from "../../../src/protocol/messages.ts";
import { decodeBlock, encodeBlock } from "../../../src/protocol/blocks/block_answer.ts";
import { checkSolved, type SolvedRequest } from "../../../src/client/blocks/check_block.ts";
import { MalformedAnswerError } from "../../../src/client/errors.ts";
import { PROBE_ROWS } from "../../../src/protocol/blocks/block_names.ts";
import type { SolvedBlock, SolvedBlockLayer } from "../../../src/protocol/blocks/solved_block.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { bytes, floats } from "../../layer/bodies.ts";

/** The report of a layer that has lost two weights of magnitude 1, with inputs that do not depend on each other. */
const REPORT: Report = {
  ...{ method: "sparsegpt", rows: 1, cols: 4, pattern: "unstructured", sparsity: 0.5, zeros: 2 },
  ...{ loss: 2, relative_error: null, damping: 0.01, iterations: 0, refit_steps: 0, notes: [] },
  ...{ backend: "cpu", adapter: "x", factor_reused: false },
  seconds: { read: 0, factor: 0, solve: 0, refit: 0, total: 0 },
};
const row = (...values: number[]) => floats("F32", [1, 4], Float32Array.from(values));
const bits = (keeps: number) => bytes("U8", [1, 1], Uint8Array.of(keeps));
/** A probe of inputs that are never used together, with these diagonal entries of the statistics. */
const probe = (...scales: number[]) =>
  floats(
    "F32",
    [PROBE_ROWS, 4],
    Float32Array.from({ length: 4 * PROBE_ROWS }, (_, i) => Math.floor(i / 4) === i % 4 ? scales[i % 4] : 0),
  );
const BLOCK: SolvedBlock = {
  layers: [
    {
      name: "a.weight",
      tokens: 3,
      report: REPORT,
      weight: row(0, 0, 1, 2),
      mask: bits(0b1100),
      probe: probe(1, 1, 1, 1),
    },
    {
      name: "b.weight",
      report: { ...REPORT, loss: 1 },
      weight: row(0, 1, 0, 1),
      mask: bits(0b1010),
      probe: probe(1, 1, 1, 1),
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
});

describe("checkSolved()", () => {
  const [sparse, rounded] = BLOCK.layers;
  const request: SolvedRequest = {
    parameters: {},
    queries: { "a.weight": {}, "b.weight": { bits: 4 } },
    tensors: new Map([["a.weight", row(1, 1, 1, 2)], ["b.weight", row(0, 1, 1, 1)], [
      "norm.bias",
      row(1, 2, 3, 4),
    ]]),
  };
  const check = (layers: readonly SolvedBlockLayer[], changes: Partial<SolvedRequest> = {}) =>
    checkSolved({ layers }, { ...request, ...changes });
  const refused = async (checked: Promise<void>, message: RegExp) => {
    await assert.rejects(checked, (error: Error) => {
      assert.ok(error instanceof MalformedAnswerError);
      assert.match(error.message, message);
      return true;
    });
  };

  it("accepts layers whose errors by the probe are as reported", () => check(BLOCK.layers));

  it("refuses a layer that is missing, occurs twice, or was not requested", async () => {
    await refused(check([sparse]), /the layer b\.weight is missing/);
    await refused(check([sparse, sparse, rounded]), /a layer occurs twice/);
    await refused(
      check(BLOCK.layers, { queries: { "b.weight": { bits: 4 } } }),
      /the layer a\.weight was not requested/,
    );
  });

  it("refuses layers that are exchanged, and an answer to another request", async () => {
    const exchanged = [{ ...sparse, weight: rounded.weight }, { ...rounded, weight: sparse.weight }];
    await refused(
      check(exchanged),
      /a\.weight: answer for a layer: weight \[0,1\] is not 0, although its mask prunes it/,
    );
    await refused(
      check(BLOCK.layers, { queries: { "a.weight": {}, "b.weight": {} } }),
      /b\.weight: .* codes, but/,
    );
  });

  it("refuses a probe that is missing, has another form, or gives another error", async () => {
    const probed = (probe: HostTensor | undefined) => check([{ ...sparse, probe }, rounded]);
    await refused(probed(undefined), /the tensor a\.weight\.probe is missing/);
    await refused(
      probed(floats("F32", [4], new Float32Array(4))),
      /a\.weight: .* the tensor probe is F32 \[4\]/,
    );
    await refused(probed(probe(0, 0, 0, 0)), /a\.weight: .* its loss is 0\.00, but its report says 2\.00/);
    await refused(probed(probe(9, -9, 1, 1)), /a\.weight: .* its loss is 162, but its report says 2\.00/);
    await refused(probed(probe(1, NaN, 1, 1)), /a\.weight: .* its loss is NaN/);
  });

  it("needs no probe of a layer that is rounded after a reconstruction, which may prune more", async () => {
    const [{ probe: _, ...layer }] = BLOCK.layers, report = { ...REPORT, zeros: 3 };
    const last = { ...layer, weight: row(0, 0, 0, 2), mask: bits(0b1000), report };
    const solved = { layers: [last, { ...rounded, probe: undefined }], reconstructed: BLOCK.reconstructed };
    await checkSolved(solved, { ...request, parameters: { reconstruct: 1 } });
  });

  it("refuses an answer without a figure that the run needs", async () => {
    await refused(check(BLOCK.layers, { isMeasured: true }), /the error on the held-out windows is missing/);
    await refused(check(BLOCK.layers, { parameters: { reconstruct: 1 } }), /the reconstruction is missing/);
  });

  it("refuses trained tensors that are not in the block, or that lack zeros of their layer", async () => {
    const train = (tensors: Readonly<Record<string, HostTensor>>) => {
      const reconstructed = { ...BLOCK.reconstructed!, tensors: new Map(Object.entries(tensors)) };
      const layers = [sparse];
      return checkSolved({ layers, reconstructed }, {
        ...request,
        queries: { "a.weight": {} },
        parameters: { reconstruct: 1 },
      });
    };
    await train({ "norm.bias": row(4, 3, 0, 1), "a.weight": row(0, 0, 3, -1) });
    const wrong: readonly (readonly [Readonly<Record<string, HostTensor>>, RegExp])[] = [
      [{ "embed.weight": row(1, 2, 3, 4) }, /embed\.weight is not in the block/],
      [{ "norm.bias": floats("F32", [4], new Float32Array(4)) }, /norm\.bias is F32 \[4\], not F32 \[1,4\]/],
      [{ "norm.bias": floats("BF16", [1, 4], new Float32Array(4)) }, /norm\.bias is BF16 \[1,4\], not F32/],
      [{ "norm.bias": row(1, NaN, 3, 4) }, /norm\.bias has an entry that is not finite/],
      [{ "a.weight": row(0, 5, 1, 1) }, /a\.weight has 5 at index 1, where the pruned weight is 0/],
      [{ "a.weight": row(0, 0, 0, 1) }, /a\.weight has 1 zeros where the pruned weight has none/],
    ];
    for (const [tensors, message] of wrong) await refused(train(tensors), message);
  });
});
