/**
 * Tests the choice of the step towards a target by a validation target: the choice against float64 code that tries the same steps, and the
 * layer that is solved with it against float64 sums.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/device/backend.ts";
import { pruneTensors } from "../../src/layer/handle_layer.ts";
import { factor } from "../../src/layer/linalg/factor.ts";
import { copyTiled } from "../../src/layer/linalg/tile_arithmetic.ts";
import type { LayerParameters } from "../../src/layer/methods.ts";
import { chooseTargetStep } from "../../src/layer/validation/choose_target_step.ts";
import { TargetStep } from "../../src/layer/target_step.ts";
import { layerQuerySchema, resolveParameters } from "../../src/protocol/parameters.ts";
import { sampledLayer } from "../reference/damping.ts";
import { quadraticForm } from "../reference/hessian.ts";
import { referenceFactor, referenceMagnitude, referenceSparseGpt } from "../reference/sparsegpt.ts";
import { referenceChange, referenceStep } from "../reference/target_step.ts";
import { nearestOnMask, rowLosses } from "../reference/validation.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { compressHost } from "../support/compress_host.ts";
import { makeLayer, uploadHessian, uploadLayer } from "../support/layers.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { floats } from "./bodies.ts";

const EDGE = 48, BLOCKSIZE = 16;
const PARAMETERS: LayerParameters = {
  method: "sparsegpt",
  sparsity: 0.5,
  pattern: { kind: "unstructured" },
  relativeError: true,
  blocksize: BLOCKSIZE,
  damping: 0.01,
  targetStep: "auto",
};

/** Returns M·H, (rows, n), for M, (rows, n), and a symmetric H, (n, n). */
function moment(m: ArrayLike<number>, h: ArrayLike<number>, n: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: m.length }, (_, i) => {
    const row = n * Math.floor(i / n), column = i % n;
    let sum = 0;
    for (let k = 0; k < n; k++) sum += m[row + k] * h[k * n + column];
    return sum;
  });
}

/**
 * Creates a layer whose target is that of other weights.
 * @param share the share of the way to these weights that the validation target goes. A negative one points away from them
 */
function makeCase(rows: number, cols: number, share: number, dead: number[] = []) {
  const layer = makeLayer(rows, cols, { seed: 3, tokens: 3 * cols, dead });
  const validation = makeLayer(1, cols, { seed: 3, tokens: 3 * cols }).hessian;
  const change = normals(rows * cols, 11);
  const towards = (part: number) => layer.weight.map((value, i) => value + part * 0.5 * change[i]);
  return {
    ...layer,
    target: moment(towards(1), layer.hessian, cols),
    validation,
    validationTarget: moment(towards(share), validation, cols),
  };
}

type Case = ReturnType<typeof makeCase>;

function upload(backend: Backend, host: Case) {
  const matrix = (weight: Float32Array<ArrayBuffer>) => uploadLayer(backend, { ...host, weight }, EDGE);
  return {
    layer: matrix(host.weight),
    hessian: uploadHessian(backend, host.hessian, host.cols, EDGE),
    target: matrix(host.target),
    validation: uploadHessian(backend, host.validation, host.cols, EDGE),
    validationTarget: matrix(host.validationTarget),
  };
}

/** The layer with its validation statistics in the place of the others. */
function validated({ validation: hessian, validationTarget: target, ...layer }: Case) {
  return { ...layer, hessian, target };
}

eachBackend("target_step auto", (backend) => {
  for (const [rows, cols, step, dead] of [[131, 71, 2, []], [23, 45, 1, [7]]] as const) {
    for (const [share, expected] of [[-1, 0], [0.2, 0.25], [1, 0.5]]) {
      it(`chooses ${expected} as float64 does if ${share} of the target holds, for ${rows}×${cols}`, async () => {
        const host = makeCase(rows, cols, share, [...dead]), live = backend().counters.bytesLive;
        const sample = {
          ...sampledLayer(host, step),
          target: sampledLayer({ ...host, weight: host.target }, step).weight,
        };
        const held = validated({ ...host, ...sampledLayer(host, step) } as Case);
        const target = sampledLayer({ ...host, weight: host.validationTarget }, step).weight;
        const reference = referenceFactor(host.hessian, cols, 0.01);
        const tried = [0, 0.25, 0.5].map((size) => {
          const weight = referenceStep(sample, size, 0.01);
          const { q } = referenceSparseGpt({ ...sample, weight }, reference, {
            sparsity: 0.5,
            blocksize: BLOCKSIZE,
          });
          return { size, change: referenceChange({ ...held, target }, q) };
        }).sort((a, b) => a.change - b.change);
        assert.equal(tried[0].size, expected, JSON.stringify(tried));
        const operands = upload(backend(), host), { layer, hessian, validation } = operands;
        const made = await factor(backend(), copyTiled(backend(), hessian, EDGE), {
          blocksize: BLOCKSIZE,
          damping: 0.01,
        });
        const [whole, gradient] = [operands.target.weight, operands.validationTarget.weight];
        const tensors = {
          weight: layer.weight,
          hessian,
          target: whole,
          validation,
          validationTarget: gradient,
        };
        const taken = await TargetStep.open(backend(), tensors, made);
        const trial = { layer, validation, change: taken.change, gradient };
        assert.equal(await chooseTargetStep(backend(), trial, made, PARAMETERS), expected);
        for (const resource of [taken, made, ...Object.values(operands)]) resource.destroy();
        assert.equal(backend().counters.bytesLive, live, "bytes left allocated");
      });
    }
  }

  for (
    const changes of [{}, { method: "alps", refitSteps: 4, effort: "fast" }, { damping: "auto" }, {
      sparsity: 0,
      quantization: { bits: 3, groupSize: 16, symmetric: false, order: "natural" },
    }] as const
  ) {
    it(`compares the results by the validation target, with ${JSON.stringify(changes)}`, async () => {
      const host = makeCase(33, 70, 0.5), { rows, cols, weight } = host;
      const parameters = { ...PARAMETERS, ...changes };
      const { q, mask, report } = await compressHost(backend(), host, parameters, EDGE);
      const change = referenceChange(validated(host), q);
      assert.ok(report.target_step! > 0);
      assertClose([report.target_change!.validation!], [change], 5e-3, { label: "change" });
      assertClose([report.target_change!.result!], [referenceChange(host, q)], 5e-3, { label: "change" });
      const loss = rowLosses(weight, q, host.validation, cols).reduce((a, b) => a + b);
      assertClose([report.validation_loss!], [loss], 2e-3, { label: "validation loss" });
      const form = quadraticForm(weight, host.validation, rows, cols);
      assertClose([report.validation_error!], [loss / form], 2e-3, { label: "validation error" });
      if (report.shrinkage) return; // The step then has another factor.
      const stepped = referenceStep(host, report.target_step!, report.damping!);
      const { quantization, sparsity } = parameters;
      const others = [mask, referenceMagnitude({ ...host, weight: stepped }, { sparsity }).mask]
        .map((kept) => referenceChange(validated(host), nearestOnMask(stepped, kept, cols, quantization)));
      for (const other of others) assert.ok(change <= other + 1e-4, `${change}, simple result ${other}`);
    });
  }

  it("refuses tensors that lack those on which they depend", async () => {
    const host = makeCase(9, 20, 1), live = backend().counters.bytesLive;
    const prune = (query: Record<string, unknown>, ...absent: string[]) => {
      const tensors = Object.entries({
        weight: floats("F32", [9, 20], host.weight),
        hessian: floats("F32", [20, 20], host.hessian),
        target: floats("F32", [9, 20], host.target),
        validation_hessian: floats("F32", [20, 20], host.validation),
        validation_target: floats("F32", [9, 20], host.validationTarget),
      }).filter(([name]) => !absent.includes(name));
      const parameters = resolveParameters(layerQuerySchema.parse(query));
      return pruneTensors({ parameters, tensors: new Map(tensors) }, { backend: backend(), clock: () => 0 });
    };
    const auto = { target_step: "auto" };
    await assert.rejects(
      prune(auto, "validation_target"),
      /tensor validation_target: expected F32 \[9, 20\], because target_step auto/,
    );
    await assert.rejects(
      prune({}, "validation_hessian"),
      /tensor validation_hessian: .* because validation_target needs it/,
    );
    await assert.rejects(prune({}, "target"), /tensor target: .* because validation_target needs it/);
    assert.equal((await prune(auto)).report.target_step, 0.5);
    assert.equal((await prune({})).report.target_step, 0.5);
    assert.equal(backend().counters.bytesLive, live, "bytes left allocated");
  });
});
