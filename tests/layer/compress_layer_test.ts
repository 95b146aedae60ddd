/**
 * Tests compressLayer(), which prunes one layer on a device. The tests cover the operands of each method, the
 * report, and the ownership of buffers.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { NotPositiveDefiniteError } from "../../src/linalg/errors.ts";
import { compressLayer } from "../../src/layer/compress_layer.ts";
import type { LayerParameters } from "../../src/layer/operands.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
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
      relative_error: solution.relativeError,
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
    const layer = uploadLayer(backend(), host), hessian = uploadHessian(backend(), host.hessian, COLS);
    const parameters = {
      ...PARAMETERS,
      method: "magnitude",
      pattern: { kind: "n:m", keep: 2, group: 4 },
    } as const;
    const { solution, factor, report } = await compressLayer(
      backend(),
      { layer, hessian },
      parameters,
      tickingClock(),
    );
    assert.equal(factor, undefined);
    assert.equal(report.pattern, "2:4");
    assertClose([report.sparsity], [35 / 70], 1e-12);
    assert.equal(report.damping, null);
    assert.ok(report.loss! > 0);
    for (const resource of [solution, layer, hessian]) resource.destroy();
  });

  it("refuses operands that the method cannot use", async () => {
    const layer = uploadLayer(backend(), host), hessian = uploadHessian(backend(), host.hessian, COLS);
    const clock = tickingClock();
    await assert.rejects(compressLayer(backend(), { layer }, PARAMETERS, clock), TypeError);
    const first = await compressLayer(backend(), { layer, hessian }, PARAMETERS, clock);
    const both = { layer, hessian, factor: first.factor };
    await assert.rejects(compressLayer(backend(), both, PARAMETERS, clock), TypeError);
    const magnitude = { ...PARAMETERS, method: "magnitude" } as const;
    await assert.rejects(
      compressLayer(backend(), { layer, factor: first.factor }, magnitude, clock),
      TypeError,
    );
    for (const resource of [first.solution, first.factor!, layer]) resource.destroy();
  });

  it("reports no error, and says why, if the error is too large for f32", async () => {
    const huge = { ...host, weight: host.weight.map((value) => value * 1e25) };
    const layer = uploadLayer(backend(), huge), hessian = uploadHessian(backend(), host.hessian, COLS);
    const { solution, factor, report } = await compressLayer(
      backend(),
      { layer, hessian },
      PARAMETERS,
      tickingClock(),
    );
    assert.deepEqual([report.loss, report.relative_error], [null, null]);
    assert.match(report.notes.join(), /too large for f32/);
    for (const resource of [solution, factor!, layer]) resource.destroy();
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
