/**
 * Tests compressLayer() with every method: the zeros, the mask of the request, the refit, the rounding, and
 * that all memory is freed.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/device/backend.ts";
import { compressLayer } from "../../src/layer/compress_layer.ts";
import { type LayerParameters, usesFactor } from "../../src/layer/methods.ts";
import { METHOD_NAMES, type MethodName } from "../../src/protocol/methods.ts";
import type { Solution } from "../../src/layer/solvers/solver.ts";
import { quadraticForm } from "../reference/hessian.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32 } from "../support/device.ts";
import { makeLayer, readSolution, uploadHessian, uploadLayer } from "../support/layers.ts";
import { uniform } from "../../scripts/fixtures/random.ts";

const ROWS = 24, COLS = 70;
const next = uniform(6);
const base = makeLayer(ROWS, COLS, { seed: 1, tokens: 200 });
const host = { ...base, forced: Uint8Array.from(base.weight, () => Number(next() < 0.1)) };
const PATTERNS = [{ kind: "unstructured" }, { kind: "n:m", keep: 2, group: 4 }] as const;

/** Compresses the layer, checks the properties that every method guarantees, and returns the loss. */
async function compress(
  backend: Backend,
  method: MethodName,
  parameters: Pick<LayerParameters, "pattern" | "refitSteps" | "quantization">,
): Promise<number> {
  const live = backend.counters.bytesLive;
  const layer = uploadLayer(backend, host), hessian = uploadHessian(backend, host.hessian, COLS);
  const { solution, factor, report } = await compressLayer(backend, { layer, hessian }, {
    method,
    effort: "fast",
    sparsity: 0.5,
    relativeError: true,
    blocksize: 32,
    damping: 0.01,
    ...parameters,
  }, () => 0);
  const { q, mask } = await readSolution(backend, solution);
  mask.forEach((kept, i) => {
    if (!kept) assert.ok(Object.is(q[i], 0), `pruned entry ${i} is ${q[i]}`);
    if (host.forced[i]) assert.equal(kept, 0, `forced entry ${i} is kept`);
  });
  assert.equal(report.zeros, mask.reduce((sum, kept) => sum + 1 - kept, 0));
  if (parameters.pattern.kind === "unstructured" && method !== "wanda") {
    assert.equal(report.zeros, ROWS * COLS / 2);
  }
  const loss = quadraticForm(host.weight.map((value, i) => value - q[i]), host.hessian, ROWS, COLS);
  assertClose([report.loss!], [loss], 2e-3, { label: "loss" });
  const error = loss / quadraticForm(host.weight, host.hessian, ROWS, COLS);
  assertClose([report.relative_error!], [error], 2e-3, { label: "relative error" });
  assert.equal(factor !== undefined, usesFactor({ method, ...parameters }));
  assert.ok(report.refit_steps <= parameters.refitSteps!);
  const bits = parameters.quantization?.bits;
  if (bits) await assertOnGrids(backend, solution, q, bits);
  for (const resource of [solution, layer, hessian]) resource.destroy();
  factor?.destroy();
  assert.equal(backend.counters.bytesLive, live, "bytes left allocated");
  return report.loss!;
}

/** Asserts that every weight is exactly a value of its grid. */
async function assertOnGrids(
  backend: Backend,
  { quantized }: Solution,
  q: Float32Array,
  bits: number,
): Promise<void> {
  const { scales, zeros, groups, groupSize } = quantized!;
  const [scale, zero] = [await downloadF32(backend, scales), await downloadF32(backend, zeros)];
  q.forEach((value, i) => {
    const grid = Math.floor(i / COLS) * groups + (groupSize === 0 ? 0 : Math.floor((i % COLS) / groupSize));
    const code = Math.round(value / scale[grid]) + zero[grid];
    assert.ok(code >= 0 && code < 2 ** bits, `entry ${i} has the code ${code}`);
    assert.equal(value, Math.fround((code - zero[grid]) * scale[grid]), `entry ${i}`);
  });
}

eachBackend("compressLayer() with every method", (backend) => {
  for (const method of METHOD_NAMES) {
    for (const pattern of PATTERNS) {
      it(`prunes by ${method} (${pattern.kind}) with forced entries, and does not raise the loss by a refit`, async () => {
        const [few, many] = method === "adaprune" ? [5, 20] : [0, 10];
        const before = await compress(backend(), method, { pattern, refitSteps: few });
        const after = await compress(backend(), method, { pattern, refitSteps: many });
        assert.ok(after <= before * (1 + 1e-6), `${before}, then ${after}`);
      });
    }

    it(`rounds the weights that ${method} keeps, with more error for fewer bits`, async () => {
      const losses = [];
      for (const bits of [8, 3]) {
        const quantization = {
          bits,
          groupSize: bits === 8 ? 16 : 0,
          symmetric: bits === 3,
          order: "natural",
        } as const;
        losses.push(await compress(backend(), method, { pattern: PATTERNS[1], refitSteps: 5, quantization }));
      }
      assert.ok(losses[0] < losses[1], `${losses}`);
      const quantization = { bits: 4, groupSize: 0, symmetric: false, order: "activation" } as const;
      await compress(backend(), method, {
        pattern: PATTERNS[0],
        refitSteps: method === "adaprune" ? 5 : 0,
        quantization,
      });
    });
  }
});
