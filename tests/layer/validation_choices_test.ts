/**
 * Tests the choices between two results of a solve by validation statistics. Each choice is compared with the
 * float64 losses of the two results, on statistics for which one and for which the other result is better.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/device/backend.ts";
import { checkPruned } from "../../src/client/answers/check_pruned.ts";
import { pruneTensors } from "../../src/layer/handle_layer.ts";
import { factor } from "../../src/layer/linalg/factor.ts";
import type { LayerParameters } from "../../src/layer/methods.ts";
import { solveAlps } from "../../src/layer/solvers/alps.ts";
import { scaleStatistics } from "../../src/layer/solvers/scaled_statistics.ts";
import { ValidationLoss } from "../../src/layer/solvers/validation_loss.ts";
import { METHOD_NAMES } from "../../src/protocol/methods.ts";
import { layerQuerySchema, resolveParameters } from "../../src/protocol/parameters.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { nearestOnMask, rowLosses } from "../reference/validation.ts";
import { assertClose } from "../support/assert_close.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { compressHost } from "../support/compress_host.ts";
import { type HostLayer, makeLayer, readSolution, uploadHessian, uploadLayer } from "../support/layers.ts";
import { floats } from "./bodies.ts";

const ROWS = 19, COLS = 45, EDGE = 32, DAMPING = 0.01;
const host = makeLayer(ROWS, COLS, { seed: 4, tokens: 90, dead: [7] });
const UNSTRUCTURED = { kind: "unstructured" } as const;

/** Returns a diagonal matrix (COLS, COLS). */
function diagonal(entry: (column: number) => number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: COLS ** 2 }, (_, i) => i % (COLS + 1) === 0 ? entry(i % COLS) : 0);
}

/** Returns the validation loss of weights in float64. */
function lossOf(q: ArrayLike<number>, validation: ArrayLike<number>, weight = host.weight): number {
  return rowLosses(weight, q, validation, COLS).reduce((a, b) => a + b);
}

/** Solves a layer, by default {@link host}. */
function solve(
  backend: Backend,
  options: Partial<LayerParameters>,
  validation?: Float32Array<ArrayBuffer>,
  given: HostLayer = host,
) {
  return compressHost(backend, { ...given, validation }, options, EDGE);
}

eachBackend("compressLayer(), by validation statistics,", (backend) => {
  it("keeps a refit only if the loss on them is smaller", async () => {
    const method = "wanda", refitSteps = 8;
    const plain = await solve(backend(), { method }),
      refitted = await solve(backend(), { method, refitSteps });
    assert.equal(refitted.report.refit_steps, refitSteps);
    const kept = [];
    // Wanda keeps the original weights, so a refit is worse if the inputs are not correlated.
    for (const validation of [host.hessian, diagonal(() => 1), ...seeds(3, 12)]) {
      const before = lossOf(plain.q, validation), after = lossOf(refitted.q, validation);
      const { report } = await solve(backend(), { method, refitSteps }, validation);
      assert.equal(report.refit_steps, after < before ? refitSteps : 0, `${before} before, ${after} after`);
      const note = report.notes.find((text) => text.startsWith("The refit"));
      assert.match(note!, /validation loss/);
      assertClose([Number(note!.match(/(?:from|of) (\S+?)(?: to .*)?\.$/)![1])], [before], 1e-3, {
        label: "validation loss before",
      });
      kept.push(report.refit_steps > 0);
    }
    assert.deepEqual(kept.slice(0, 2), [true, false]);
  });

  it("returns the mask of ALPS or of SparseGPT, whichever has the smaller loss on them", async () => {
    const run = (validation?: Float32Array) => solveMasks(backend(), validation);
    const { q: alps, keptSparseGpt } = await run();
    assert.equal(keptSparseGpt, false);
    const { q: sparseGpt } = await solve(backend(), { method: "sparsegpt" });
    const kept = [];
    for (const validation of seeds(2, 20)) {
      const expected = lossOf(sparseGpt, validation) <= lossOf(alps, validation);
      const chosen = await run(validation);
      assert.equal(chosen.keptSparseGpt, expected);
      assertSame(chosen.q, expected ? sparseGpt : alps);
      kept.push(expected);
    }
    assert.ok(kept.includes(true) && kept.includes(false), `${kept}`);
  });

  for (const symmetric of [false, true]) {
    it(`rounds to nearest if they are diagonal, with a ${symmetric ? "symmetric" : "asymmetric"} grid`, async () => {
      // Multiples of 1/8 lie at and between the values of a grid, also in the middle of two values.
      const weight = Float32Array.from(host.weight, (value) => Math.round(8 * value) / 8);
      const given = { ...host, weight }, validation = diagonal((column) => column === 3 ? 0 : 1 + column);
      for (const [groupSize, order] of [[0, "natural"], [0, "activation"], [16, "natural"]] as const) {
        for (const [sparsity, refitSteps] of [[0, 0], [0.5, 0], [0.5, 4]]) {
          const quantization = { bits: 3, groupSize, symmetric, order };
          const options = { method: "sparsegpt", sparsity, refitSteps, quantization } as const;
          const { q, mask, report } = await solve(backend(), options, validation, given);
          const nearest = nearestOnMask(weight, mask, COLS, quantization);
          // No grid of these ranges has a smaller loss, and ties may be rounded either way.
          const losses = rowLosses(weight, q, validation, COLS);
          rowLosses(weight, nearest, validation, COLS).forEach((loss, row) =>
            assert.ok(losses[row] <= loss * (1 + 1e-5), `row ${row}: ${losses[row]}, nearest ${loss}`)
          );
          if (report.validation_choice === "method") assert.ok(report.nearest_rows! > 0);
        }
      }
    });
  }

  it("compares some rows of a large layer first, and measures the whole layer only if they leave a doubt", async () => {
    const given = makeLayer(600, COLS, { seed: 5, tokens: 900 }), method = "sparsegpt";
    const counted = async (validation: Float32Array<ArrayBuffer>) => {
      const { counters } = backend(), before = counters.dispatches;
      const result = await solve(backend(), { method }, validation, given);
      return { ...result, dispatches: counters.dispatches - before };
    };
    // On the calibration statistics SparseGPT is far better than the simple results, and on a diagonal matrix it is worse.
    const [clear, doubtful] = [await counted(given.hessian), await counted(diagonal(() => 1))];
    assert.equal(clear.report.validation_choice, "method");
    assert.equal(clear.report.nearest_rows, 0);
    assert.equal(doubtful.report.validation_choice, "magnitude");
    assert.ok(
      clear.dispatches < doubtful.dispatches,
      `${clear.dispatches} and ${doubtful.dispatches} dispatches`,
    );
    for (
      const [{ q, report }, validation] of [[clear, given.hessian], [
        doubtful,
        diagonal(() => 1),
      ]] as const
    ) {
      assertClose([report.validation_loss!], [lossOf(q, validation, given.weight)], 2e-4, {
        label: "validation loss",
      });
    }
  });

  it("answers codes and grids that stand for the weights of every row", async () => {
    const validation = diagonal(() => 1), [rows, cols] = [ROWS, COLS];
    const tensors = {
      weight: floats("F32", [rows, cols], host.weight),
      hessian: floats("F32", [cols, cols], host.hessian),
      validation_hessian: floats("F32", [cols, cols], validation),
    };
    for (
      const grid of [{ group_size: 0 }, { order: "activation" }, { group_size: 8, symmetric: true }] as const
    ) {
      const query = { bits: 3, sparsity: 0.3, blocksize: 32, ...grid };
      const answer = await pruneTensors(
        {
          tensors: new Map(Object.entries(tensors)),
          parameters: resolveParameters(layerQuerySchema.parse(query)),
        },
        { backend: backend(), clock: () => 0, tileEdge: EDGE },
      );
      const { report } = answer, tensor = (name: string) => answer.tensors.get(name)!;
      assert.ok(report.validation_choice === "magnitude" || report.nearest_rows! > 0);
      const quantized = { codes: tensor("codes"), scales: tensor("scales"), zeros: tensor("zeros") };
      checkPruned({ weight: tensor("weight"), mask: tensor("mask"), quantized, report }, { query, tensors });
    }
  });

  it("changes no bit of a result if no other is better", async () => {
    for (const method of METHOD_NAMES) {
      if (method === "alps" || method === "adaprune") continue; // of equal results, they return the result without a refit
      for (const bits of [undefined, 4]) {
        const quantization = bits && { bits, groupSize: 0, symmetric: false, order: "natural" } as const;
        const options = { method, quantization: quantization || undefined };
        const expected = await solve(backend(), options);
        const { q, mask, report } = await solve(backend(), options, diagonal(() => 0));
        assertSame([q, mask], [expected.q, expected.mask], method);
        const { validation_loss, validation_error, validation_choice, nearest_rows, ...others } = report;
        assert.deepEqual([validation_loss, validation_choice, nearest_rows], [0, "method", 0]);
        assert.equal(validation_error, 0);
        assert.deepEqual(others, expected.report);
      }
    }
  });
});

/** Returns validation statistics of few tokens, which differ much from each other. */
function seeds(tokens: number, count: number): Float32Array<ArrayBuffer>[] {
  return Array.from({ length: count }, (_, seed) => correlatedHessian(COLS, { seed: 50 + seed, tokens }));
}

/** Solves the layer by ALPS without a refit, and returns the weights. */
async function solveMasks(backend: Backend, validation?: Float32Array) {
  using stack = new DisposableStack();
  const owned = <T extends { destroy(): void }>(resource: T) =>
    stack.adopt(resource, (each) => each.destroy());
  const upload = (matrix: Float32Array) => uploadHessian(backend, matrix, COLS, EDGE);
  const factored = owned(
    await factor(backend, upload(host.hessian), { damping: DAMPING, blocksize: 32 }),
  );
  const scaled = owned(await scaleStatistics(backend, upload(host.hessian), DAMPING));
  const layer = owned(uploadLayer(backend, host, EDGE));
  const loss = validation &&
    owned(await ValidationLoss.open(backend, layer.weight, owned(upload(validation))));
  const options = { pattern: UNSTRUCTURED, sparsity: 0.5, relativeError: false };
  const solution = owned(
    await solveAlps(backend, layer, factored, scaled, {
      ...options,
      effort: "default",
      refitSteps: 0,
      validation: loss,
    }),
  );
  const { q } = await readSolution(backend, solution);
  return { q, keptSparseGpt: solution.keptSparseGpt };
}
