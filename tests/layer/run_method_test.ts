/** Every method through compressLayer(): the zeros, the mask that a request gives, the refit, and the memory that is left. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { compressLayer } from "../../src/layer/compress_layer.ts";
import { usesFactor } from "../../src/layer/operands.ts";
import type { Method } from "../../src/protocol/parameters.ts";
import { quadraticForm } from "../reference/hessian.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { makeLayer, readSolution, uploadHessian, uploadLayer } from "../support/layers.ts";
import { uniform } from "../support/random.ts";

const ROWS = 24, COLS = 70;
const METHODS: readonly Method[] = ["sparsegpt", "magnitude", "wanda", "adaprune", "obc", "alps"];
const next = uniform(6);
const base = makeLayer(ROWS, COLS, { seed: 1, tokens: 200 });
const host = { ...base, forced: Uint8Array.from(base.weight, () => Number(next() < 0.1)) };
const PATTERNS = [{ kind: "unstructured" }, { kind: "n:m", keep: 2, group: 4 }] as const;

eachBackend("compressLayer() with every method", (backend) => {
  for (const method of METHODS) {
    for (const pattern of PATTERNS) {
      it(`prunes by ${method} with the pattern ${pattern.kind}, keeps forced entries at 0, and a refit never raises the loss`, async () => {
        const losses: number[] = [];
        for (const refitSteps of method === "adaprune" ? [5, 20] : [0, 10]) {
          const live = backend().counters.bytesLive;
          const layer = uploadLayer(backend(), host), hessian = uploadHessian(backend(), host.hessian, COLS);
          const parameters = {
            method,
            pattern,
            refitSteps,
            effort: "fast",
            sparsity: 0.5,
            relativeError: true,
            blocksize: 32,
            damping: 0.01,
          } as const;
          const { solution, factor, report } = await compressLayer(
            backend(),
            { layer, hessian },
            parameters,
            () => 0,
          );
          const { q, mask } = await readSolution(backend(), solution);
          mask.forEach((kept, i) => {
            if (!kept) assert.ok(Object.is(q[i], 0), `pruned entry ${i} is ${q[i]}`);
            if (host.forced[i]) assert.equal(kept, 0, `forced entry ${i} is kept`);
          });
          assert.equal(report.zeros, mask.reduce((sum, kept) => sum + 1 - kept, 0));
          if (pattern.kind === "unstructured" && method !== "wanda") {
            assert.equal(report.zeros, ROWS * COLS / 2);
          }
          const delta = host.weight.map((value, i) => value - q[i]);
          const loss = quadraticForm(delta, host.hessian, ROWS, COLS);
          assertClose([report.loss!], [loss], 2e-3, { label: "loss" });
          const error = loss / quadraticForm(host.weight, host.hessian, ROWS, COLS);
          assertClose([report.relative_error!], [error], 2e-3, { label: "relative error" });
          assert.equal(factor !== undefined, usesFactor({ method }));
          assert.ok(report.refit_steps <= refitSteps);
          losses.push(report.loss!);
          for (const resource of [solution, layer, hessian]) resource.destroy();
          factor?.destroy();
          assert.equal(backend().counters.bytesLive, live, "bytes left allocated");
        }
        assert.ok(losses[1] <= losses[0] * (1 + 1e-6), `${losses}`);
      });
    }
  }
});
