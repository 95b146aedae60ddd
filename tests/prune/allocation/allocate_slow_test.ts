/** Tests allocations for the test model opt-sotu: the statistics that they use, their exact totals, and the requests that they reject. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { calibrationWindows } from "../../../src/layer/calibration/windows.ts";
import { type LocalHost, openLocalHost } from "../../support/local_host.ts";
import type { QueryOf } from "../../../src/protocol/run/solve_round.ts";
import type { Report } from "../../../src/protocol/messages.ts";
import { allocate, withAllocation } from "../../../src/prune/allocation/allocate.ts";
import type { AllocationTask } from "../../../src/prune/allocation/allocation.ts";
import { inputNorms } from "../../../src/prune/input_norms.ts";
import { linearLayers } from "../../../src/prune/block_plan.ts";
import type { RoundSolver } from "../../../src/prune/steps.ts";
import type { OpenDestination } from "../../../src/prune/run/job.ts";
import { runInMemory } from "../blocks/run_in_memory.ts";
import { forwardOpt, readOptReference } from "../../reference/opt_forward.ts";
import { assertClose } from "../../support/assert_close.ts";
import { OPT_SOTU_URL, sotuTokens, useOptSotu } from "../../support/opt_sotu.ts";

const windows = calibrationWindows(await sotuTokens("calibration"), { windows: 3, seqlen: 20 });

describe("allocations for the test model opt-sotu", () => {
  const opt = useOptSotu();
  let host: LocalHost;
  before(async () => host = await openLocalHost("cpu"));
  after(() => host[Symbol.asyncDispose]());

  function task(changes: Partial<AllocationTask> = {}): AllocationTask {
    const { model } = opt, layers = linearLayers(model.spec), { backend, pruner } = host;
    return { model, layers, sparsity: 0.5, queryOf: () => ({}), windows, backend, pruner, ...changes };
  }

  it("use inputNorms(), which computes the squared norms of the inputs of all layers in the dense model", async () => {
    const reference = readOptReference(OPT_SOTU_URL);
    const inputs = windows.map((window) => forwardOpt(reference, window).inputs);
    let block = 0, steps = "";
    const progress = (done: number, total: number) => void (steps = `${done}/${total}`);
    for await (const norms of inputNorms(opt.model, host.backend, { windows, lastBlock: 2, progress })) {
      for (const [[{ name, inFeatures }], computed] of norms) {
        const expected = new Float64Array(inFeatures);
        for (const input of inputs) {
          input.get(`model.decoder.layers.${block}.${name}.weight`)!
            .forEach((value, i) => expected[i % inFeatures] += value * value);
        }
        assertClose(computed, expected, 1e-5, { label: `${block} ${name}` });
      }
      block++;
    }
    assert.deepEqual([block, steps], [3, "3/3"]);
  });

  for (const name of ["owl", "error"] as const) {
    for (const sparsity of [0.503, 0.9]) {
      it(`by ${name} at sparsity ${sparsity} prune the exact number of weights in the model and in each layer`, async () => {
        const layers = linearLayers(opt.model.spec).filter(({ name }) =>
          !/1\.fc2|3\.self_attn\.k/.test(name)
        );
        const { sparsities, notes } = await allocate(name, task({ layers, sparsity }));
        assert.deepEqual(Object.keys(sparsities), layers.map((layer) => layer.name));
        assert.ok(new Set(Object.values(sparsities)).size > 2);
        assert.equal(notes.length, 1);

        const { windows, backend } = task(), names = new Set(Object.keys(sparsities));
        const queryOf = withAllocation(() => ({ error: false }), { name, sparsities, notes });
        let zeros = 0;
        const record: OpenDestination["record"] = ({ name, report: { rows, cols, zeros: inLayer } }) => {
          assert.equal(inLayer, Math.round(sparsities[name] * rows * cols), name);
          zeros += inLayer;
          return Promise.resolve();
        };
        const job = { model: opt.model, windows, layers: names, queryOf };
        await runInMemory(job, { backend, pruner: host.pruner }, { record });
        const entries = layers.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
        assert.equal(zeros, Math.round(sparsity * entries));
      });
    }
  }

  it("by error have a smaller mean error than one sparsity for all layers, and the same error when repeated", async () => {
    const { notes: [note] } = await allocate("error", task());
    const [, after, before] = /is ([\d.]+), instead of ([\d.]+) with one sparsity/.exec(note)!;
    assert.ok(Number(after) < Number(before), note);
    const again = await allocate("error", task());
    assert.equal(again.notes[0], note);
  });

  it("by error compare the errors on the held-out windows if there are some", async () => {
    // Of the layers with more columns than rows, only the errors on held-out windows grow.
    const pruner: RoundSolver = {
      async *solveRound(groups, queryOf) {
        for await (const group of groups) {
          const { layers, validationHessian } = group;
          for (const layer of layers) {
            const { weight } = layer,
              { sparsity = 0 } = queryOf(layer),
              isWide = weight.shape[1] > weight.shape[0];
            const relative_error = isWide ? 0 : sparsity, validation_error = isWide ? sparsity : 0;
            const report = { relative_error, ...validationHessian && { validation_error } } as Report;
            yield { group, layer, weight, report };
          }
        }
      },
    };
    for (const validationWindows of [[], [windows[2]]]) {
      const isHeldOut = validationWindows.length > 0;
      const chosen = await allocate(
        "error",
        task({ windows: windows.slice(0, 2), validationWindows, pruner }),
      );
      for (const [name, sparsity] of Object.entries(chosen.sparsities)) {
        if (name.endsWith("fc2.weight")) assert.equal(sparsity < 0.5, isHeldOut, `${name} ${sparsity}`);
      }
      assert.equal(chosen.notes[0].endsWith("on held-out windows."), isHeldOut, chosen.notes[0]);
    }
    assert.equal(host.backend.counters.bytesLive, 0);
  });

  it("reject an n:m pattern, and name the layer", async () => {
    const queryOf: QueryOf = (name) => name.endsWith("2.fc1.weight") ? { pattern: "2:4" } : {};
    await assert.rejects(
      allocate("owl", task({ queryOf })),
      /^RangeError: allocation owl: .*2\.fc1\.weight is pruned 2:4, and this pattern fixes its sparsity/,
    );
  });

  it("throw the reason of an aborted signal, and leave no device memory allocated", async () => {
    const { bytesLive } = host.backend.counters;
    for (const name of ["owl", "error"] as const) {
      const signal = AbortSignal.abort(new Error("stopped"));
      await assert.rejects(allocate(name, task({ signal })), /stopped/);
    }
    assert.equal(host.backend.counters.bytesLive, bytesLive);
  });
});
