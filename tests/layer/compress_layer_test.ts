/**
 * Tests compressLayer(), which prunes one layer on a device. The tests cover the operands of each method, the
 * report, and the ownership of buffers.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { NotPositiveDefiniteError } from "../../src/layer/linalg/errors.ts";
import { compressLayer } from "../../src/layer/compress_layer.ts";
import type { LayerParameters } from "../../src/layer/methods.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { relativeError } from "../../src/layer/solvers/solver.ts";
import { compressHost } from "../support/compress_host.ts";
import { makeLayer, uploadHessian, uploadLayer } from "../support/layers.ts";

const ROWS = 24, COLS = 70;
const host = makeLayer(ROWS, COLS, { seed: 1 });
const PARAMETERS: LayerParameters = {
  method: "sparsegpt",
  sparsity: 0.25,
  pattern: { kind: "unstructured" },
  relativeError: true,
  blocksize: 32,
  damping: 0.01,
};

/** Returns a clock that advances by 250 ms each time it is read. */
function tickingClock(): () => number {
  let now = 1e6;
  return () => now += 250;
}

eachBackend("compressLayer", (backend) => {
  it("factors the statistics, prunes the layer and reports the result", async () => {
    const live = backend().counters.bytesLive;
    const layer = uploadLayer(backend(), host), hessian = uploadHessian(backend(), host.hessian, COLS);
    const { solution, factor, report } = await compressLayer(
      backend(),
      { layer, hessian },
      PARAMETERS,
      tickingClock(),
    );
    assert.deepEqual(report, {
      method: "sparsegpt",
      rows: ROWS,
      cols: COLS,
      pattern: "unstructured",
      sparsity: 0.25,
      zeros: 420,
      loss: solution.loss,
      relative_error: relativeError(solution),
      damping: 0.01,
      iterations: 0,
      refit_steps: 0,
      notes: [],
      backend: backend().kind,
      adapter: backend().adapter.name,
      seconds: { factor: 0.25, solve: 0.25, refit: 0 },
      factor_reused: false,
    });
    assert.ok(report.loss! > 0 && report.relative_error! > 0 && report.relative_error! < 0.25);
    for (const resource of [solution, factor!, layer]) resource.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });

  it("computes the same result with a reused factor", async () => {
    const layer1 = uploadLayer(backend(), host), layer2 = uploadLayer(backend(), host);
    const hessian = uploadHessian(backend(), host.hessian, COLS);
    const clock = tickingClock();
    const first = await compressLayer(backend(), { layer: layer1, hessian }, PARAMETERS, clock);
    const reused = await compressLayer(
      backend(),
      { layer: layer2, factor: first.factor },
      PARAMETERS,
      clock,
    );
    assert.equal(reused.factor, undefined);
    assert.equal(reused.report.factor_reused, true);
    assert.equal(reused.report.loss, first.report.loss);
    for (const resource of [first.solution, reused.solution, first.factor!, layer1, layer2]) {
      resource.destroy();
    }
  });

  it("reports the sparsity that a pattern reaches, and no damping for a method that does not factor", async () => {
    const pattern = { kind: "n:m", keep: 2, group: 4 } as const;
    const { report, hasFactor } = await compressHost(backend(), host, { method: "magnitude", pattern });
    assert.equal(hasFactor, false);
    assert.equal(report.pattern, "2:4");
    assertClose([report.sparsity], [35 / 70], 1e-12);
    assert.equal(report.damping, null);
    assert.ok(report.loss! > 0);
  });

  /** Solves the layer with its weights times `factor` and its statistics times `power`. */
  function solveScaled(factor: number, power: number, changes: Partial<LayerParameters> = {}) {
    const weight = host.weight.map((value) => value * factor);
    const hessian = host.hessian.map((value) => value * power);
    return compressHost(backend(), { ...host, weight, hessian }, { ...PARAMETERS, ...changes });
  }

  const METHODS = [
    { method: "sparsegpt" },
    { method: "wanda" },
    { method: "magnitude" },
    { method: "obc" },
    { method: "adaprune", refitSteps: 8 },
    { method: "alps", effort: "default" },
  ] as const;

  for (const changes of METHODS) {
    it(`prunes and measures very small and very large layers like ordinary ones, with ${changes.method}`, async () => {
      const ordinary = await solveScaled(1, 1, changes);
      // Powers of two, so that the scaled layers have the same digits.
      for (
        const [factor, power] of [[2 ** -90, 1], [2 ** 90, 1], [1, 2 ** -90], [1, 2 ** 90], [
          2 ** 60,
          2 ** 60,
        ]]
      ) {
        const { q, report } = await solveScaled(factor, power, changes);
        assertClose([report.relative_error!], [ordinary.report.relative_error!], 1e-5);
        assertClose(q.map((value) => value / factor), ordinary.q, 1e-5);
        const loss = ordinary.report.loss! * factor ** 2 * power;
        if (loss < 2 ** 127 && loss > 2 ** -126) assertClose([report.loss!], [loss], 1e-5);
        else {assert.ok(
            report.loss === null && /f32 cannot hold/.test(report.notes.join()),
            report.notes.join(),
          );}
      }
    });
  }

  it("reports 0 for weights that are all 0", async () => {
    const { report } = await solveScaled(0, 1);
    assert.deepEqual([report.loss, report.relative_error, report.notes], [0, 0, []]);
  });

  it("reports no error, and says why, if the error of rounded weights is too large or too small for f32", async () => {
    const quantization = { bits: 4, groupSize: 0, symmetric: false, order: "natural" } as const;
    for (const [factor, reason] of [[1e18, /too large for f32/], [1e-18, /too small for f32/]] as const) {
      const { report } = await solveScaled(factor, factor, { quantization });
      assert.deepEqual([report.loss, report.relative_error], [null, null]);
      assert.match(report.notes.join(), reason);
    }
  });

  it("frees its buffers when the factorisation or the solve fails", async () => {
    const live = backend().counters.bytesLive, clock = tickingClock();
    const layer = uploadLayer(backend(), host);
    const indefinite = host.hessian.map((value, i) => i % (COLS + 1) === 0 ? 1 : 10 * Math.sign(value));
    await assert.rejects(
      compressLayer(
        backend(),
        { layer, hessian: uploadHessian(backend(), indefinite, COLS) },
        PARAMETERS,
        clock,
      ),
      NotPositiveDefiniteError,
    );
    const straddling = { ...PARAMETERS, pattern: { kind: "n:m", keep: 2, group: 5 } } as const;
    await assert.rejects(
      compressLayer(
        backend(),
        { layer, hessian: uploadHessian(backend(), host.hessian, COLS) },
        straddling,
        clock,
      ),
      RangeError,
    );
    layer.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });
});
