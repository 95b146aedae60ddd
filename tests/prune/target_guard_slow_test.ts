/** Tests the decision of each block about its targets, against forward passes in float64. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import type { Report } from "../../src/protocol/messages.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import type { RoundSolver } from "../../src/prune/steps.ts";
import { serverPruner } from "../../src/prune/server_pruner.ts";
import type { TargetDecision } from "../../src/protocol/blocks/solved_block.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { bytesToFloats } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { blockOutputError } from "../reference/block_output_error.ts";
import { readOptReference } from "../reference/opt_forward.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { openLocalHost } from "../support/local_host.ts";
import { type RunOptions, solveBlocks } from "../support/solve_blocks.ts";
import { OPT_SOTU_URL, sotuTokens, useOptSotu } from "../support/opt_sotu.ts";

const SEQLEN = 24;
const windows = calibrationWindows(await sotuTokens("calibration"), { windows: 12, seqlen: SEQLEN });
const heldOut = calibrationWindows(await sotuTokens("evaluation"), { windows: 2, seqlen: SEQLEN });
/** Only in the second block do the layers have something to make up for. */
const LAST = 1, PREFIX = "model.decoder.layers.";
const layers = { has: (name: string) => name.startsWith(`${PREFIX}0.`) || name.startsWith(`${PREFIX}1.`) };

const opt = useOptSotu();

eachBackend("a pruner with a guard of targets", (backend) => {
  /** Prunes two blocks. */
  const prune = async (
    query: LayerQuery,
    options: Partial<RunOptions> = {},
    pruner: RoundSolver = new DevicePruner(backend()),
  ) => {
    const decisions: TargetDecision[] = [],
      live = backend().counters.bytesLive,
      weights = new Map<string, HostTensor>();
    const reports = new Map<string, Omit<Report, "seconds" | "factor_reused">>();
    const solved = await solveBlocks(
      opt.model,
      backend(),
      {
        windows,
        validationWindows: heldOut,
        layers,
        hasTargets: true,
        replace: (name, weight) => Promise.resolve(void weights.set(name, weight)),
        recordDecision: (block, decision) => {
          assert.ok([...weights.keys()].every((name) => !name.startsWith(`${PREFIX}${block}.`)));
          return Promise.resolve(void decisions.push(decision));
        },
        ...options,
      },
      pruner,
      query,
    );
    for (const { layer: { name }, report: { seconds: _, factor_reused: _reused, ...report } } of solved) {
      reports.set(name, report);
    }
    assert.equal(reports.size, 12);
    assert.equal(backend().counters.bytesLive, live);
    return { decisions, weights, reports };
  };
  const errorWith = (weights: ReadonlyMap<string, HostTensor>) => {
    const pruned = readOptReference(OPT_SOTU_URL);
    for (const [name, { data }] of weights) {
      pruned.tensors.set(name, Float64Array.from(bytesToFloats(data, "F16")));
    }
    return blockOutputError(readOptReference(OPT_SOTU_URL), pruned, LAST, heldOut);
  };

  for (
    const [what, areKept, query] of [
      ["keeps targets that lower the error of the block on held-out windows", true, {
        method: "wanda",
        sparsity: 0.6,
        target_step: 0.25,
        damping: 1,
      }],
      ["leaves out targets that raise it", false, { method: "sparsegpt", sparsity: 0.3, target_step: 1 }],
    ] as const satisfies readonly (readonly [string, boolean, LayerQuery])[]
  ) {
    it(what, async () => {
      const { decisions, weights, reports } = await prune(query);
      assert.equal(decisions.length, 2);
      assert.equal(decisions[LAST].areKept, areKept, JSON.stringify(decisions));
      for (const kept of [true, false]) {
        const decided = new Map([[0, decisions[0].areKept], [LAST, kept]]);
        const other = await prune(query, { decided });
        assert.equal(other.decisions.length, 0);
        const error = decisions[LAST].errors[kept ? "withTargets" : "without"];
        const expected = errorWith(other.weights);
        assert.ok(Math.abs(error / expected - 1) < 1e-3, `${error} instead of ${expected}`);
        for (const [name, weight] of weights) {
          if (kept === areKept) assertSame(weight, other.weights.get(name), name);
        }
        const host = await openLocalHost(backend()),
          decidedBefore = await prune(query, { decided }, serverPruner(host.pare));
        assertSame(decidedBefore, other);
        for (const [name, { target_step }] of other.reports) {
          if (name.startsWith(`${PREFIX}${LAST}.`)) {
            assert.equal(target_step, kept ? query.target_step : undefined);
          }
        }
      }
      const host = await openLocalHost(backend());
      assertSame(await prune(query, {}, serverPruner(host.pare)), { decisions, weights, reports });
      for (const [name, { target_step }] of reports) {
        if (name.startsWith(`${PREFIX}${LAST}.`)) {
          assert.equal(target_step, areKept ? query.target_step : undefined);
        }
      }
    });
  }

  it("is off without held-out windows", async () => {
    const { decisions, reports } = await prune({ target_step: 0.25 }, { validationWindows: [] });
    assert.equal(decisions.length, 0);
    assert.ok([...reports.values()].every(({ target_step }) => target_step === 0.25));
  });
});
