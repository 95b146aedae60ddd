/**
 * Tests that a run gives the bytes, reports and errors of a run in this process if two hosts solve its layers, if one host prunes its blocks,
 * and if its windows are divided over two hosts.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { HostPool } from "../../../src/client/host_pool.ts";
import type { TransportOptions } from "../../../src/client/transport.ts";
import { calibrationWindows } from "../../../src/layer/calibration/windows.ts";
import { BlockHost } from "../../../src/client/blocks/block_host.ts";
import { serverPruner } from "../../../src/prune/server_pruner.ts";
import type { PruneJob } from "../../../src/prune/run/job.ts";
import { PART_WINDOWS } from "../../../src/protocol/limits.ts";
import type { LayerQuery } from "../../../src/protocol/layer_query.ts";
import { copyTensor, type HostTensor } from "../../../src/tensor/host_tensor.ts";
import { assertSame } from "../../support/assert_same.ts";
import { readFamilyFixture } from "../../support/family_fixtures.ts";
import { sotuTokens, useOptSotu } from "../../support/opt_sotu.ts";
import { normals } from "../../../scripts/fixtures/random.ts";
import { divided, remote, runAlone, runInMemory, withHosts } from "./run_in_memory.ts";

/** Three parts and a bit of fitted windows, and two parts of held-out ones. */
const windows = calibrationWindows(await sotuTokens("calibration"), { windows: 54, seqlen: 16 });
const fitted = windows.slice(0, 3 * PART_WINDOWS - 11), heldOut = windows.slice(fitted.length);

const opt = useOptSotu();

/** Returns a transport that refuses every request after `isLost` was called and has returned true once. */
function losing(host: TransportOptions, isLost: (request: Request) => boolean): TransportOptions {
  let lost = false;
  return {
    ...host,
    application(request) {
      lost ||= isLost(request);
      if (lost) throw new TypeError("connection refused");
      return host.application!(request);
    },
  };
}

const RUNS: readonly (readonly [string, LayerQuery, Partial<PruneJob>])[] = [
  ["held-out windows of two parts", { method: "sparsegpt", damping: "auto" }, {}],
  ["true-sequential order", { pattern: "2:4" }, { trueSequential: true, validationWindows: [] }],
  ["rounded weights", { sparsity: 0, bits: 4, token_weights: "none" }, {
    validationWindows: heldOut.slice(0, 3),
  }],
  ["targets and an odd number of windows", { method: "sparsegpt", sparsity: 0.6 }, {
    target: "dense",
    windows: fitted.slice(0, 33),
    validationWindows: heldOut.slice(0, 3),
  }],
  ["targets that are not decided about", { method: "wanda", target_step: 0.25 }, {
    target: "dense",
    validationWindows: [],
  }],
  ["targets in true-sequential order", { sparsity: 0.5 }, {
    target: "dense",
    trueSequential: true,
    validationWindows: heldOut.slice(0, 1),
  }],
  ["reconstructed blocks", { pattern: "2:4" }, { reconstruct: 2, validationWindows: heldOut.slice(0, 3) }],
  ["reconstructed blocks that no windows measure", { pattern: "2:4" }, {
    reconstruct: 1,
    windows: fitted.slice(0, 17),
    validationWindows: [],
  }],
  ["targets and reconstructed blocks", { method: "magnitude" }, {
    target: "dense",
    reconstruct: 1,
    windows: fitted.slice(0, 33),
    validationWindows: heldOut.slice(0, 3),
  }],
  ["blocks that are reconstructed and then rounded", { pattern: "2:4", bits: 4 }, {
    reconstruct: 1,
    windows: fitted.slice(0, 17),
    validationWindows: heldOut.slice(0, 1),
  }],
  ["targets and blocks that are reconstructed and then rounded", { pattern: "2:4", bits: 4 }, {
    target: "dense",
    reconstruct: 1,
    trueSequential: true,
    windows: fitted.slice(0, 17),
    validationWindows: heldOut.slice(0, 1),
  }],
];

describe("a run at hosts", () => {
  for (const [what, query, options] of RUNS) {
    it(`gives the bytes of this process at one host and at two, with ${what}`, () =>
      withHosts(async (near, hosts) => {
        const { model, checkpoint: { config } } = opt, transports = hosts.map(({ transport }) => transport);
        const job = { model, windows: fitted, validationWindows: heldOut, queryOf: () => query, ...options };
        const alone = await runAlone(job, near);
        assert.equal(alone.replaced.size, 24);
        assert.equal(alone.trained.size > 0, options.reconstruct !== undefined);
        const isHeldOut = job.validationWindows.length > 0;
        for (const { report } of alone.reports.values()) {
          assert.equal("validation_error" in report, isHeldOut);
        }
        const pool = new HostPool(hosts.map(({ pare }) => pare));
        const layers = serverPruner({ solveRound: (...args) => pool.solveRound(...args) });
        assertSame(await runInMemory(job, { backend: near.backend, pruner: layers }), alone);
        assertSame(await runInMemory(job, { pruner: remote(transports[0], config) }), alone);
        assertSame(await runInMemory(job, { pruner: divided(transports, config) }), alone);
        const [one, two] = transports;
        for (const [host, name] of [[one, "run"], [one, "run-0"], [two, "run-1"], [one, "run-2"]] as const) {
          assert.equal(await new BlockHost(host, name).nextBlock(), undefined);
        }
      }));
  }

  for (const target of ["none", "dense"] as const) {
    it(`gives the bytes of this process for a mixture, some of whose experts get no tokens of a host, with target ${target}`, () =>
      withHosts(async (near, hosts) => {
        const { variants: [{ model, config }] } = await readFamilyFixture("qwen3_moe");
        const random = normals(36 * 2, 5), { vocabSize } = model.spec;
        const windows = Array.from(
          { length: 36 },
          (_, window) =>
            Uint32Array.from(
              { length: 2 },
              (_, i) => Math.floor(1e4 * Math.abs(random[2 * window + i])) % vocabSize,
            ),
        );
        const job: PruneJob = {
          model,
          windows: windows.slice(0, 20),
          validationWindows: windows.slice(20),
          queryOf: () => ({ sparsity: 0.5 }),
          target,
          reconstruct: 1,
        };
        const alone = await runAlone(job, near);
        const pruner = divided(hosts.map(({ transport }) => transport), config);
        assertSame(await runInMemory(job, { pruner }), alone);
      }));
  }

  for (
    const [when, path, at, lost, options] of [
      ["adds up statistics", "/v1/blocks/collect", 3, 1, {}],
      ["solves layers", "/sums", 6, 1, {}],
      ["computes targets", "/sums", 6, 1, { target: "dense" }],
      ["measures the second solution of a block", "/v1/blocks/measure", 4, 1, { target: "dense" }],
      ["trains a block", "/v1/blocks/train", 3, 0, { reconstruct: 1 }],
    ] as const
  ) {
    it(`continues at the other host if one is lost while it ${when}`, () =>
      withHosts(async (near, hosts) => {
        const { model, checkpoint: { config } } = opt;
        const job = {
          model,
          windows: fitted,
          validationWindows: heldOut,
          queryOf: () => ({ sparsity: 0.5 }),
          ...options,
        };
        const alone = await runAlone(job, near);
        let requests = 0;
        const transports = hosts.map(({ transport }) => transport);
        const isLost = ({ url }: Request) => url.includes(path) && ++requests === at;
        const losses: string[] = [], rebuilt: number[] = [];
        const pruner = divided(transports.with(lost, losing(transports[lost], isLost)), config, {
          onHostLost: (_url, { name }) => void losses.push(name),
          onRebuild: (block) => void rebuilt.push(block),
        });
        assertSame(await runInMemory(job, { pruner }), alone);
        assert.deepEqual(losses, ["ConnectionError"]);
        // The first host has the states of all windows, besides those of its share.
        assert.equal(rebuilt.length, lost === 0 ? 2 : 1);
      }));
  }

  it("stops with the error of the last host if all are lost", () =>
    withHosts(async (_near, [one, two]) => {
      const { model, checkpoint: { config } } = opt;
      const hosts = [one, two].map(({ transport }) => losing(transport, ({ method }) => method === "POST"));
      const job = { model, windows: fitted, queryOf: () => ({ sparsity: 0.5 }) };
      await assert.rejects(runInMemory(job, { pruner: divided(hosts, config) }), { name: "ConnectionError" });
    }));

  it("continues a run that has stopped while a trained block is rounded", () =>
    withHosts(async (near, hosts) => {
      const { model, checkpoint: { config } } = opt;
      const job: PruneJob = {
        model,
        windows: fitted.slice(0, 33),
        validationWindows: heldOut.slice(0, 3),
        queryOf: () => ({ pattern: "2:4", bits: 4 }),
        target: "dense",
        reconstruct: 1,
      };
      const alone = await runAlone(job, near);
      const replaced = new Map<string, HostTensor>(), trained = new Map<string, HostTensor>();
      const finished = new Set<string>(), measured = new Set<number>();
      const reconstructed = new Map<number, readonly string[]>(), decided = new Map<number, boolean>();
      const rebuilt: number[] = [], stopped = new Error("the disk is full");
      const transports = hosts.map(({ transport }) => transport);
      /** Runs the job until `most` layers are recorded. */
      const run = (most: number) => {
        const pruner = divided(transports, config, { onRebuild: (block) => void rebuilt.push(block) });
        return runInMemory(job, { pruner }, {
          finished: new Set(finished),
          reconstructed: new Map(reconstructed),
          decided: new Map(decided),
          measured: new Set(measured),
          replace: (name, weight) => Promise.resolve(void replaced.set(name, copyTensor(weight))),
          readFinished: (name) => Promise.resolve(trained.get(name) ?? replaced.get(name)!),
          record({ name }) {
            if (finished.size === most) throw stopped;
            return Promise.resolve(void finished.add(name));
          },
          recordDecision: (block, { areKept }) => Promise.resolve(void decided.set(block, areKept)),
          recordReconstruction(block, { tensors }) {
            reconstructed.set(block, [...tensors.keys()]);
            for (const [name, tensor] of tensors) trained.set(name, copyTensor(tensor));
            return Promise.resolve();
          },
          recordBlockError: (block) => Promise.resolve(void measured.add(block)),
        });
      };
      await assert.rejects(run(8), stopped);
      assert.deepEqual([...reconstructed.keys()], [0]);
      // The first host forgets the states of all windows, so they run through the trained block again.
      await new BlockHost(transports[0], "run-2").delete();
      await run(24);
      assert.deepEqual(rebuilt, [1]);
      assertSame(replaced, alone.replaced);
      assertSame(trained, alone.trained);
    }));
});
