/** Tests that a run with held-out windows gives the same bytes on this process's device and at two hosts. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { HostPool } from "../../src/client/host_pool.ts";
import { pruneRounds } from "../../src/client/prune_rounds.ts";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { openModel } from "../../src/model/model.ts";
import { calibratedModel } from "../../src/prune/calibrated_model.ts";
import { type CalibratedPruner, serverPruner } from "../../src/prune/device_pruner.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { openLocalHost } from "../support/local_host.ts";
import { openOptSotu, sotuTokens } from "../support/opt_sotu.ts";

const windows = calibrationWindows(await sotuTokens("calibration"), { windows: 9, seqlen: 24 });

const QUERIES: readonly LayerQuery[] = [{ method: "sparsegpt" }, {
  method: "sparsegpt",
  sparsity: 0,
  bits: 4,
}];
for (const query of QUERIES) {
  it(`a run with held-out windows gives the same bytes at two hosts with ${JSON.stringify(query)}`, async () => {
    const checkpoint = await openOptSotu(), model = openModel(checkpoint);
    await using near = await openLocalHost("cpu");
    await using far = await openLocalHost("cpu");
    const pool = new HostPool([near.pare, far.pare]);
    const hosts = serverPruner({
      pruneModel: (source, query = {}, options = {}) =>
        pruneRounds(source, query, (...args) => pool.solveRound(...args), options),
    });
    const prune = async (pruner: CalibratedPruner) => {
      const replaced = new Map<string, Uint8Array>(), errors: Record<string, unknown> = {};
      const source = calibratedModel(model, near.backend, {
        windows: windows.filter((_, i) => i !== 4),
        validationWindows: [windows[4]],
        onReplace: (name, { data }) => Promise.resolve(void replaced.set(name, data)),
      });
      for await (const event of pruner.pruneModel(source, query)) {
        if (event.type === "layer") errors[event.name] = event.report.validation_error;
      }
      return { replaced: Object.fromEntries(replaced), errors };
    };
    try {
      const alone = await prune(near.pruner);
      assert.ok(Object.values(alone.errors).every((error) => typeof error === "number" && error > 0));
      assert.equal(Object.keys(alone.errors).length, 24);
      assert.deepEqual(await prune(hosts), alone);
    } finally {
      await checkpoint.close();
    }
  });
}
