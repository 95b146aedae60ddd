/**
 * Tests compressLayer() with every method: the zeros, the mask of the request, the refit, the rounding, and
 * that all memory is freed.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/device/backend.ts";
import { type LayerParameters, usesFactor } from "../../src/layer/methods.ts";
import { METHOD_NAMES, type MethodName } from "../../src/protocol/methods.ts";
import { eachBackend } from "../support/backends.ts";
import { compressHost } from "../support/compress_host.ts";
import { makeLayer } from "../support/layers.ts";
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
  const { report, hasFactor } = await compressHost(backend, host, { method, effort: "fast", ...parameters });
  if (parameters.pattern.kind === "unstructured" && method !== "wanda") {
    assert.equal(report.zeros, ROWS * COLS / 2);
  }
  assert.equal(hasFactor, usesFactor({ method, ...parameters }));
  assert.ok(report.refit_steps <= parameters.refitSteps!);
  return report.loss!;
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
