/**
 * Tests the choice of the damping by validation statistics: the choice against float64 code that tries the same candidates, and the layer
 * that is solved with it against float64 sums.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/device/backend.ts";
import { chooseDamping } from "../../src/layer/validation/choose_damping.ts";
import { pruneTensors } from "../../src/layer/handle_layer.ts";
import type { LayerParameters } from "../../src/layer/methods.ts";
import { METHOD_NAMES } from "../../src/protocol/methods.ts";
import { layerQuerySchema, resolveParameters } from "../../src/protocol/parameters.ts";
import { sampledLayer, shrunkHessian, triedDampings } from "../reference/damping.ts";
import { referenceGptq } from "../reference/gptq.ts";
import { gram } from "../reference/hessian.ts";
import { referenceFactor, type ReferenceLayer, referenceSparseGpt } from "../reference/sparsegpt.ts";
import { rowLosses } from "../reference/validation.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { compressHost } from "../support/compress_host.ts";
import { type HostLayer, makeLayer, uploadHessian, uploadLayer } from "../support/layers.ts";
import { normals, uniform } from "../../scripts/fixtures/random.ts";
import { floats } from "./bodies.ts";

const UNSTRUCTURED = { kind: "unstructured" } as const,
  TWO_OF_FOUR = { kind: "n:m", keep: 2, group: 4 } as const;
const TWO_BITS = { bits: 2, groupSize: 16, symmetric: false, order: "natural", ranges: "minmax" } as const;
const BLOCKSIZE = 16, EDGE = 48;

const BASE: LayerParameters = {
  method: "sparsegpt",
  sparsity: 0.5,
  pattern: UNSTRUCTURED,
  relativeError: true,
  blocksize: BLOCKSIZE,
  damping: "auto",
};

/** The sum of Σ x·xᵀ over few inputs, which is singular, and `shift` times the identity. */
function singular(cols: number, seed: number, tokens: number, shift = 0): Float32Array<ArrayBuffer> {
  const h = gram(Float64Array.from(normals(tokens * cols, seed)), tokens, cols);
  return Float32Array.from(h, (value, i) => value / tokens + (i % (cols + 1) === 0 ? shift : 0));
}

/** Returns a layer of which the statistics of `tokens` inputs are known, and a share of the entries is forced. */
function layerOf(
  rows: number,
  cols: number,
  hessian: Float32Array<ArrayBuffer>,
  isForced: boolean,
): HostLayer {
  const weight = makeLayer(rows, cols, { seed: 5 }).weight, next = uniform(8);
  const forced = isForced ? Uint8Array.from(weight, () => Number(next() < 0.1)) : undefined;
  return { rows, cols, weight, hessian, forced };
}

/** Solves a layer in float64. */
function referenceSolve({ sparsity, pattern, quantization }: LayerParameters) {
  const groups = pattern.kind === "n:m" ? pattern : undefined;
  const options = { sparsity, groups, blocksize: BLOCKSIZE };
  return (layer: ReferenceLayer, factor: ReturnType<typeof referenceFactor>) =>
    quantization
      ? referenceGptq(layer, factor, { ...options, ...quantization, scaleDtype: "F32" }).q
      : referenceSparseGpt(layer, factor, options).q;
}

function upload(backend: Backend, host: HostLayer, validation: Float32Array) {
  const { cols } = host;
  return {
    layer: uploadLayer(backend, host, EDGE),
    hessian: uploadHessian(backend, host.hessian, cols, EDGE),
    validation: uploadHessian(backend, validation, cols, EDGE),
  };
}

/** The statistics by which a case is calibrated and validated. */
const STATISTICS = {
  "the same inputs": (cols: number) => [singular(cols, 4, 2 * cols), singular(cols, 4, 2 * cols)],
  "weaker correlations": (cols: number) => {
    const { hessian } = makeLayer(3, cols, { seed: 3, tokens: 2 * cols });
    return [hessian, Float32Array.from(shrunkHessian(hessian, cols, 0.4))];
  },
  "few inputs": (cols: number) => [singular(cols, 1, cols >> 1), singular(cols, 2, 4 * cols)],
  "dead inputs": (cols: number) => [
    makeLayer(3, cols, { seed: 1, tokens: cols, dead: [0, 40] }).hessian,
    makeLayer(3, cols, { seed: 9, tokens: 300 }).hessian,
  ],
  "an indefinite matrix": (cols: number) => [
    singular(cols, 1, cols >> 1, -0.05),
    singular(cols, 2, 4 * cols),
  ],
} as const;

eachBackend("chooseDamping()", (backend) => {
  const chosen = new Set<string>();
  for (const [name, statisticsOf] of Object.entries(STATISTICS)) {
    for (const [rows, cols, step] of [[131, 71, 2], [23, 45, 1]]) {
      for (
        const [title, options] of [
          ["50 %", {}],
          ["2:4", { pattern: TWO_OF_FOUR }],
          ["2 bits", { sparsity: 0, quantization: TWO_BITS }],
        ] as const
      ) {
        it(`chooses as float64 does, with ${name}, ${rows}×${cols}, ${title}`, async () => {
          const [hessian, validation] = statisticsOf(cols);
          for (const isForced of [false, true]) {
            const host = layerOf(rows, cols, hessian, isForced && title !== "2 bits");
            const parameters = { ...BASE, ...options }, live = backend().counters.bytesLive;
            const tried = triedDampings(sampledLayer(host, step), validation, referenceSolve(parameters));
            const [best, second] = tried.toSorted((a, b) => a.loss - b.loss);
            // Rounded sums cannot decide between candidates that are as good as each other.
            assert.ok(second.loss > best.loss * (1 + 1e-4), `${second.loss} is too near ${best.loss}`);
            const operands = upload(backend(), host, validation);
            const { factor, shrinkage } = await chooseDamping(backend(), operands, parameters);
            assert.deepEqual(
              { damping: factor.damping, shrinkage },
              { damping: best.damping, shrinkage: best.shrinkage },
            );
            chosen.add(`${factor.damping}, ${shrinkage}`);
            for (const resource of [factor, ...Object.values(operands)]) resource.destroy();
            assert.equal(backend().counters.bytesLive, live, "bytes left allocated");
          }
        });
      }
    }
  }

  it("chose every damping and shrinkage in one of these cases", () => {
    assert.deepEqual([...chosen].sort(), ["0.01, 0", "0.01, 0.1", "0.01, 0.3", "0.1, 0", "1, 0"]);
  });
});

eachBackend("compressLayer() with damping auto", (backend) => {
  const cols = 70, [hessian, validation] = STATISTICS["weaker correlations"](cols);
  const host = { ...layerOf(33, cols, hessian, false), validation };
  const solve = (options: Partial<LayerParameters>, target?: Float32Array<ArrayBuffer>) =>
    compressHost(backend(), { ...host, target }, { ...BASE, ...options, targetStep: target && 0.5 }, EDGE);

  it("solves with the shrunk statistics, and reports the loss on those of the request", async () => {
    const { q, report } = await solve({});
    assert.deepEqual([report.damping, report.shrinkage], [0.01, 0.3]);
    assert.equal(report.validation_choice, "method");
    const factor = referenceFactor(shrunkHessian(hessian, cols, 0.3), cols, 0.01);
    const expected = referenceSolve(BASE)(host, factor);
    const nearest = expected.map((value, i) => value === 0 ? 0 : host.weight[i]);
    const [losses, nearestLosses] = [expected, nearest].map((w) =>
      rowLosses(host.weight, w, validation, cols)
    );
    assert.equal(report.nearest_rows, losses.filter((loss, row) => nearestLosses[row] < loss).length);
    assertClose(
      q,
      expected.map((
        v,
        i,
      ) => (losses[Math.floor(i / cols)] > nearestLosses[Math.floor(i / cols)] ? nearest[i] : v)),
      2e-4,
    );
  });

  for (const method of METHOD_NAMES) {
    it(`works with ${method}, and is not worse than a damping of 0.01 for one pass`, async () => {
      for (const quantization of [undefined, TWO_BITS]) {
        for (const refitSteps of method === "adaprune" ? [3] : [0, 3]) {
          const options = { method, quantization, refitSteps, effort: "fast" } as const;
          const { report } = await solve(options);
          const isUsed = !["magnitude", "wanda"].includes(method) || refitSteps > 0 || quantization;
          if (!isUsed) assert.equal(report.shrinkage, undefined);
          assert.equal(report.damping === null, !isUsed);
          if (method !== "sparsegpt" || refitSteps > 0) continue;
          const fixed = await solve({ ...options, damping: 0.01 });
          assert.ok(report.validation_loss! < fixed.report.validation_loss!);
        }
      }
    });
  }

  it("chooses the damping of a layer with a target", async () => {
    const target = Float32Array.from(normals(33 * cols, 3), (value) => 0.01 * value);
    const { report } = await solve({}, target);
    assert.equal(report.shrinkage, 0.3);
    assert.ok(report.target_change!.step! < 0);
  });

  it("chooses the same damping for weights and statistics of any size", async () => {
    for (const scale of [2 ** -70, 2 ** 70]) {
      const weight = host.weight.map((value) => value * scale),
        operands = upload(backend(), { ...host, weight }, validation);
      const { factor, shrinkage } = await chooseDamping(backend(), operands, BASE);
      assert.equal(shrinkage, 0.3);
      for (const resource of [factor, ...Object.values(operands)]) resource.destroy();
    }
  });

  it("refuses a layer without validation statistics, unless no damping is used", async () => {
    const tensors = (names: readonly string[]) =>
      new Map(
        Object.entries({
          weight: floats("F32", [33, cols], host.weight),
          hessian: floats("F32", [cols, cols], hessian),
          validation_hessian: floats("F32", [cols, cols], validation),
        }).filter(([name]) => names.includes(name)),
      );
    const prune = (query: Record<string, unknown>, names: readonly string[]) =>
      pruneTensors(
        { parameters: resolveParameters(layerQuerySchema.parse(query)), tensors: tensors(names) },
        {
          backend: backend(),
          clock: () => 0,
        },
      );
    const live = backend().counters.bytesLive;
    await assert.rejects(prune({ damping: "auto" }, ["weight", "hessian"]), {
      code: "shape_mismatch",
      message:
        "tensor validation_hessian: expected F32 [70, 70], because damping auto chooses by the validation statistics, got none",
    });
    const { report } = await prune({ damping: "auto", method: "wanda" }, ["weight", "hessian"]);
    assert.equal(report.damping, null);
    const all = await prune({ damping: "auto" }, ["weight", "hessian", "validation_hessian"]);
    assert.equal(all.report.shrinkage, 0.3);
    assert.equal(backend().counters.bytesLive, live, "bytes left allocated");
  });
});
