/** One layer through the pipeline: which operands each method takes, what the report says, who frees what. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { NotPositiveDefiniteError } from "../../src/linalg/errors.ts";
import { compressLayer, type LayerParameters } from "../../src/layer/compress_layer.ts";
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

/** A clock that moves on by 250 ms each time it is asked. */
function tickingClock(): () => number {
  let now = 1e6;
  return () => now += 250;
}

eachBackend("compressLayer", (backend) => {
  it("factors, solves and reports", async () => {
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
      backend: backend().kind,
      adapter: backend().adapter.name,
      seconds: { factor: 0.25, solve: 0.25, refit: 0 },
      factor_reused: false,
    });
    assert.ok(report.loss! > 0 && report.relative_error! > 0 && report.relative_error! < 0.25);
    for (const resource of [solution, factor!, layer]) resource.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });

  it("reuses a factor, to the same answer", async () => {
    const first = uploadLayer(backend(), host), second = uploadLayer(backend(), host);
    const hessian = uploadHessian(backend(), host.hessian, COLS);
    const clock = tickingClock();
    const made = await compressLayer(backend(), { layer: first, hessian }, PARAMETERS, clock);
    const reused = await compressLayer(
      backend(),
      { layer: second, factor: made.factor },
      PARAMETERS,
      clock,
    );
    assert.equal(reused.factor, undefined);
    assert.equal(reused.report.factor_reused, true);
    assert.equal(reused.report.loss, made.report.loss);
    for (const resource of [made.solution, reused.solution, made.factor!, first, second]) resource.destroy();
  });

  it("reports the sparsity a pattern reached, and no damping where nothing was factored", async () => {
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

  it("refuses operands a method cannot use", async () => {
    const layer = uploadLayer(backend(), host), hessian = uploadHessian(backend(), host.hessian, COLS);
    const clock = tickingClock();
    await assert.rejects(compressLayer(backend(), { layer }, PARAMETERS, clock), TypeError);
    const made = await compressLayer(backend(), { layer, hessian }, PARAMETERS, clock);
    const both = { layer, hessian, factor: made.factor };
    await assert.rejects(compressLayer(backend(), both, PARAMETERS, clock), TypeError);
    const magnitude = { ...PARAMETERS, method: "magnitude" } as const;
    await assert.rejects(
      compressLayer(backend(), { layer, factor: made.factor }, magnitude, clock),
      TypeError,
    );
    for (const resource of [made.solution, made.factor!, layer]) resource.destroy();
  });

  it("frees what it made when the statistics or the solve fail", async () => {
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
