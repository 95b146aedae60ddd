/**
 * Tests layers with a target against naive float64 code: the step of the weights, the methods that solve the stepped weights, and the
 * figures of the report.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/device/backend.ts";
import { readMatrix, TiledMatrix, writeMatrix } from "../../src/device/tiled_matrix.ts";
import { pruneTensors } from "../../src/layer/handle_layer.ts";
import { factor } from "../../src/layer/linalg/factor.ts";
import { copyTiled } from "../../src/layer/linalg/tile_arithmetic.ts";
import type { LayerParameters } from "../../src/layer/methods.ts";
import { TargetStep } from "../../src/layer/target_step.ts";
import { layerQuerySchema, resolveParameters } from "../../src/protocol/parameters.ts";
import { correlatedHessian, quadraticForm } from "../reference/hessian.ts";
import { referenceFactor, referenceMagnitude, referenceSparseGpt } from "../reference/sparsegpt.ts";
import { referenceChange, referenceStep, type TargetLayer } from "../reference/target_step.ts";
import { assertClose } from "../support/assert_close.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { compressHost } from "../support/compress_host.ts";
import { type HostLayer, makeLayer, uploadHessian, uploadLayer } from "../support/layers.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { floats } from "./bodies.ts";

type TargetHostLayer = HostLayer & TargetLayer & { readonly target: Float32Array<ArrayBuffer> };

/** Creates a layer whose target is that of slightly different weights, with an inconsistent part in every column. */
function makeTargetLayer(rows: number, cols: number, seed: number, dead: number[] = []): TargetHostLayer {
  const layer = makeLayer(rows, cols, { seed, dead });
  const wanted = normals(rows * cols, seed + 7).map((value, i) => layer.weight[i] + 0.3 * value);
  const target = normals(rows * cols, seed + 8).map((value, i) => {
    const r = Math.floor(i / cols), c = i % cols;
    let sum = 0.02 * value;
    for (let k = 0; k < cols; k++) sum += wanted[r * cols + k] * layer.hessian[k * cols + c];
    return sum;
  });
  return { ...layer, target };
}

function uploadMatrix(backend: Backend, { rows, cols }: HostLayer, values: Float32Array, edge?: number) {
  const matrix = new TiledMatrix(backend, { label: "target", rows, cols, edge });
  writeMatrix(backend, matrix, values);
  return matrix;
}

const PARAMETERS: LayerParameters = {
  method: "sparsegpt",
  sparsity: 0.5,
  pattern: { kind: "unstructured" },
  relativeError: true,
  blocksize: 16,
  damping: 0.01,
  targetStep: 0.5,
};

eachBackend("a layer with a target", (backend) => {
  const cases: [rows: number, cols: number, dead: number[], edge: number | undefined][] = [
    [1, 1, [], undefined],
    [7, 45, [], undefined],
    [33, 70, [3, 69], undefined],
    [19, 101, [0], 32],
  ];
  for (const [rows, cols, dead, edge] of cases) {
    for (const order of ["natural", "activation"] as const) {
      it(`takes the step of ${rows}×${cols} weights with a factor in ${order} order, dead inputs ${dead}`, async () => {
        const host = makeTargetLayer(rows, cols, 3, dead), live = backend().counters.bytesLive;
        const layer = uploadLayer(backend(), host, edge);
        const hessian = uploadHessian(backend(), host.hessian, cols, edge);
        const target = uploadMatrix(backend(), host, host.target, edge);
        const made = await factor(backend(), copyTiled(backend(), hessian, hessian.edge), {
          blocksize: 16,
          damping: 0.01,
          order,
        });
        const operands = { weight: layer.weight, hessian, target };
        const step = await TargetStep.open(backend(), operands, made);
        step.take(0.5);
        const stepped = await readMatrix(backend(), layer.weight);
        assertClose(stepped, referenceStep(host, 0.5, 0.01), 2e-4);
        const { loss, weightForm, change } = await step.measure(layer.weight);
        const difference = stepped.map((value, i) => value - host.weight[i]);
        assertClose([weightForm], [quadraticForm(host.weight, host.hessian, rows, cols)], 1e-4);
        assertClose([loss], [quadraticForm(difference, host.hessian, rows, cols)], 1e-3);
        const expected = referenceChange(host, stepped);
        assert.ok(expected < 0, `${expected}`);
        assertClose([change.step!, change.result!], [expected, expected], 2e-3);
        for (const resource of [step, made, target, hessian, layer]) resource.destroy();
        assert.equal(backend().counters.bytesLive, live);
      });
    }
  }

  /** Solves the layer, and compares the figures of the report with those of its weights in float64. */
  async function solve(
    host: TargetHostLayer,
    { held, ...changes }: Partial<LayerParameters> & { readonly held?: Float32Array } = {},
  ) {
    const given = { ...host, validation: held };
    const { q, mask, report } = await compressHost(backend(), given, { ...PARAMETERS, ...changes });
    const { result, step } = report.target_change!;
    assertClose([result!], [referenceChange(host, q)], 5e-3);
    assertClose([step!], [
      referenceChange(host, referenceStep(host, Number(changes.targetStep ?? 0.5), 0.01)),
    ], 5e-3);
    return { q, mask, report };
  }

  it("solves the stepped weights by sparsegpt and by magnitude", async () => {
    const host = makeTargetLayer(21, 70, 5, [8]), { rows, cols, hessian } = host;
    const weight = referenceStep(host, 0.5, 0.01), stepped = { rows, cols, weight, hessian };
    const options = { sparsity: 0.5, blocksize: 16 };
    const expected = referenceSparseGpt(stepped, referenceFactor(hessian, cols, 0.01), options);
    const { q, mask } = await solve(host);
    assertSame(mask, expected.mask);
    assertClose(q, expected.q, 1e-3);
    const magnitude = await solve(host, { method: "magnitude" });
    assert.deepEqual(magnitude.mask, referenceMagnitude(stepped, options).mask);
    assert.equal(magnitude.report.damping, 0.01);
  });

  const solves: Record<string, Partial<LayerParameters>> = {
    wanda: { method: "wanda", pattern: { kind: "n:m", keep: 2, group: 4 } },
    alps: { method: "alps", refitSteps: 5, effort: "fast" },
    obc: { method: "obc" },
    adaprune: { method: "adaprune", refitSteps: 5 },
    "a refit": { refitSteps: 5 },
    "a whole step": { targetStep: 1 },
    rounding: { quantization: { bits: 4, groupSize: 16, symmetric: false, order: "natural" } },
    "rounding in activation order": {
      quantization: { bits: 4, groupSize: 0, symmetric: true, order: "activation" },
      refitSteps: 3,
    },
  };
  for (const [name, changes] of Object.entries(solves)) {
    it(`reports the errors of ${name} against the original weights and against the target`, async () => {
      const { report } = await solve(makeTargetLayer(16, 48, 11, [5]), changes);
      assert.ok(report.target_change!.step! < report.target_change!.result!);
    });
  }

  for (const targetStep of [0.25, 1]) {
    it(`follows the errors of a step of ${targetStep} from those of the pass if no input is dead`, async () => {
      await solve(makeTargetLayer(21, 70, 5), { targetStep });
    });
  }

  it("lets validation statistics choose between results for the stepped weights", async () => {
    const host = makeTargetLayer(16, 48, 11, [5]), held = correlatedHessian(48, { seed: 40 });
    for (const method of ["sparsegpt", "magnitude"] as const) {
      const { q, report } = await solve(host, { method, held });
      const stepped = referenceStep(host, 0.5, 0.01);
      const loss = quadraticForm(stepped.map((value, i) => value - q[i]), held, 16, 48);
      assertClose([report.validation_loss!], [loss], 1e-3);
    }
  });

  it("prunes the entries that a mask forces", async () => {
    const forced = Uint8Array.from({ length: 21 * 70 }, (_, i) => i % 9 === 0 ? 1 : 0);
    const { mask } = await solve({ ...makeTargetLayer(21, 70, 5), forced }, {
      method: "alps",
      refitSteps: 3,
    });
    assert.ok(forced.every((flag, i) => flag === 0 || mask[i] === 0));
  });

  it("solves the original weights with a step of size 0", async () => {
    const host = makeTargetLayer(21, 70, 5);
    const without = { ...host, target: undefined }, options = { ...PARAMETERS, targetStep: undefined };
    const plain = await compressHost(backend(), without, options);
    assertSame((await solve(host, { targetStep: 0 })).q, plain.q);
    assert.equal(plain.report.target_change, undefined);
  });

  it("solves very large and very small weights in other units", async () => {
    const host = makeTargetLayer(12, 40, 5), { q } = await solve(host);
    for (const exponent of [70, -70]) {
      const scale = (values: Float32Array<ArrayBuffer>) => values.map((value) => value * 2 ** exponent);
      const scaledHost = { ...host, weight: scale(host.weight), target: scale(host.target) };
      const scaled = await compressHost(backend(), scaledHost, PARAMETERS);
      assert.deepEqual(scaled.q, scale(q as Float32Array<ArrayBuffer>));
    }
  });

  it("takes a target on the device, in tiles of any size, with the result of a target in a body", async () => {
    const host = makeTargetLayer(21, 70, 5), { rows, cols } = host;
    const parameters = resolveParameters(layerQuerySchema.parse({ blocksize: 16, target_step: 0.25 }));
    const options = { backend: backend(), clock: () => 0, tileEdge: 32 };
    const weight = floats("F32", [rows, cols], host.weight);
    const body = new Map([
      ["weight", weight],
      ["hessian", floats("F32", [cols, cols], host.hessian)],
      ["target", floats("F32", [rows, cols], host.target)],
    ]);
    const live = backend().counters.bytesLive;
    const sent = await pruneTensors({ tensors: body, parameters }, options);
    const onDevice = await pruneTensors({
      tensors: new Map([["weight", weight]]),
      hessian: uploadHessian(backend(), host.hessian, cols, 16),
      target: uploadMatrix(backend(), host, host.target, 64),
      parameters,
    }, options);
    assertSame(onDevice.tensors, sent.tensors);
    assert.deepEqual(onDevice.report.target_change, sent.report.target_change);
    assert.equal(backend().counters.bytesLive, live);
  });
});
