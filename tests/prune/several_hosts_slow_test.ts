/** Tests that a run gives the same bytes and figures on this process's device and at two hosts, whatever is sent with its layers. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { HostPool } from "../../src/client/host_pool.ts";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { openModel } from "../../src/model/model.ts";
import type { RoundSolver } from "../../src/prune/steps.ts";
import { serverPruner } from "../../src/prune/server_pruner.ts";
import type { PruneJob } from "../../src/prune/run/job.ts";
import { pruneModel } from "../../src/prune/run/prune_model.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import type { Report } from "../../src/protocol/messages.ts";
import { assertSame } from "../support/assert_same.ts";
import { openLocalHost } from "../support/local_host.ts";
import { openOptSotu, sotuTokens } from "../support/opt_sotu.ts";

const windows = calibrationWindows(await sotuTokens("calibration"), { windows: 9, seqlen: 24 });

/** No guard decides about targets in true-sequential order. `target_guard_slow_test.ts` tests the guard at a host. */
const TARGETS: Partial<PruneJob> = { target: "dense", trueSequential: true };

const RUNS: readonly (readonly [string, LayerQuery, Partial<PruneJob>])[] = [
  ["held-out windows", { method: "sparsegpt" }, {}],
  ["rounded weights", { method: "sparsegpt", sparsity: 0, bits: 4 }, {}],
  ["targets", { method: "sparsegpt", pattern: "2:4" }, TARGETS],
  ["targets of one step and no held-out windows", { method: "wanda", target_step: 0.25 }, {
    target: "dense",
    validationWindows: [],
  }],
  ["targets and reconstructed blocks", { method: "magnitude" }, { ...TARGETS, reconstruct: 1 }],
  ["reconstructed blocks", { method: "sparsegpt", pattern: "2:4" }, { reconstruct: 1 }],
  ["blocks that are reconstructed and then rounded", { method: "sparsegpt", pattern: "2:4", bits: 4 }, {
    reconstruct: 1,
  }],
];
for (const [what, query, options] of RUNS) {
  it(`a run with ${what} gives the same bytes at two hosts`, async () => {
    const checkpoint = await openOptSotu(), model = openModel(checkpoint);
    await using near = await openLocalHost("cpu");
    await using far = await openLocalHost("cpu");
    const pool = new HostPool([near.pare, far.pare]);
    const hosts = serverPruner({ solveRound: (...args) => pool.solveRound(...args) });
    const prune = async (pruner: RoundSolver) => {
      const replaced = new Map<string, Uint8Array>(), reports = new Map<string, Partial<Report>>();
      const epochs: number[] = [];
      await pruneModel({
        model,
        windows: windows.filter((_, i) => i !== 4),
        validationWindows: [windows[4]],
        queryOf: () => query,
        ...options,
        destination: {
          fill: (prune) =>
            prune({
              replace: (name, { data }) => Promise.resolve(void replaced.set(name, data)),
              record({ name, report: { seconds: _, factor_reused: _factor, ...report } }) {
                return Promise.resolve(void reports.set(name, report));
              },
              recordReconstruction(_block, { keptEpoch, tensors }) {
                epochs.push(keptEpoch);
                for (const [name, { data }] of tensors) replaced.set(name, data);
                return Promise.resolve();
              },
            }),
        },
      }, { backend: near.backend, pruner });
      return { replaced, reports, epochs };
    };
    try {
      const alone = await prune(near.pruner), reports = [...alone.reports.values()];
      assert.equal(reports.length, 24);
      const hasTargets = options.target === "dense", isHeldOut = options.validationWindows === undefined;
      assert.ok(reports.every((report) => (report.validation_error !== undefined) === isHeldOut));
      assert.ok(reports.every((report) => (report.target_change !== undefined) === hasTargets));
      assert.equal(alone.epochs.length, options.reconstruct ? 4 : 0);
      // One epoch lowers the error of most blocks on the held-out window.
      assert.ok(!options.reconstruct || alone.epochs.filter((epoch) => epoch === 1).length >= 3);
      assertSame(await prune(hosts), alone);
    } finally {
      await checkpoint.close();
    }
  });
}
