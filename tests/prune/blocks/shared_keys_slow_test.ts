/**
 * Tests that a run at hosts gives the bytes of a run in this process for models like Gemma 4 whose last blocks read the keys and values of
 * earlier blocks, and that Gemma 4 E2B and E4B are refused.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { FAMILY_MODELS, type Settings } from "../../../scripts/fixtures/family_models.ts";
import { BlockHost } from "../../../src/client/blocks/block_host.ts";
import { blockTensors, embeddingTensors } from "../../../src/model/families/check_tensors.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { BlockJobs } from "../../../src/prune/blocks/block_jobs.ts";
import { RemoteBlocks } from "../../../src/prune/blocks/remote_blocks.ts";
import type { PruneJob } from "../../../src/prune/run/job.ts";
import type { LayerQuery } from "../../../src/protocol/layer_query.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";
import { openLocalHost } from "../../support/local_host.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { randomWeights } from "../../support/random_weights.ts";
import { divided, remote, runAlone, runInMemory, withHosts } from "./run_in_memory.ts";

const { gemma4_text_e2b: { base } } = FAMILY_MODELS;

/** The settings of E2B, and the same without inputs of tokens. The blocks that read keys and values of others have wider networks. */
const E2B: Settings = { ...base, use_double_wide_mlp: true };
const SHARED: Settings = { ...E2B, hidden_size_per_layer_input: 0 };

const TOKENS = 6, FITTED = 17, next = uniform(7);
/** Some ids of the vocabulary do not occur. */
const windows = Array.from(
  { length: 20 },
  () => Uint32Array.from({ length: TOKENS }, () => 4 + Math.floor(20 * next())),
);

function modelOf(config: Settings) {
  const spec = readModelSpec(config, () => false), blocks = Array.from({ length: spec.blockCount }).keys();
  const tensors = [...embeddingTensors(spec), ...blocks.flatMap((index) => blockTensors(spec, index))];
  return { spec, weights: randomWeights(Object.fromEntries(tensors)).source };
}

function jobOf(config: Settings, query: LayerQuery, options: Partial<PruneJob> = {}): PruneJob {
  return {
    model: modelOf(config),
    windows: windows.slice(0, FITTED),
    validationWindows: windows.slice(FITTED),
    queryOf: () => query,
    ...options,
  };
}

const RUNS: readonly (readonly [string, LayerQuery, Partial<PruneJob>])[] = [
  ["targets and reconstructed blocks", { pattern: "2:4" }, { target: "dense", reconstruct: 1 }],
  ["the true-sequential order", { pattern: "2:4" }, { trueSequential: true, target: "dense" }],
  ["reconstructed blocks that are then rounded", { pattern: "2:4", bits: 4 }, { reconstruct: 1 }],
];

describe("a run at hosts", () => {
  for (const [what, query, options] of RUNS) {
    it(`gives the bytes of this process with one host and with two for ${what}`, () =>
      withHosts(async (near, hosts) => {
        const job = jobOf(SHARED, query, options);
        const alone = await runAlone(job, near);
        assert.equal(alone.errors.size, 4);
        assert.equal(alone.trained.size > 0, options.reconstruct !== undefined);
        assertSame(await runInMemory(job, { pruner: remote(hosts[0].transport, SHARED) }), alone);
        assertSame(
          await runInMemory(job, { pruner: divided(hosts.map(({ transport }) => transport), SHARED) }),
          alone,
        );
      }));
  }

  it("gives the bytes of this process if the host loses the states before a block that reads those of another", () =>
    withHosts(async (near, [host]) => {
      const job = jobOf(SHARED, { pattern: "2:4" }, { target: "dense" });
      const alone = await runAlone(job, near);
      const { model: { spec } } = job, rebuilt: number[] = [];
      const inBlock2 = [0, 1].flatMap((block) => spec.block(block).groups.flat()).length + 1;
      const onLayerDone = async (done: number) =>
        void (done === inBlock2 && await new BlockHost(host.transport, "run").delete());
      const pruner = remote(host.transport, SHARED, { onRebuild: (block) => void rebuilt.push(block) });
      const services = { pruner, onLayerDone: (done: number) => void onLayerDone(done) };
      assertSame(await runInMemory(job, services), alone);
      assert.deepEqual(rebuilt, [3]);
    }));

  it("names an id that has no row in the table of tokens, as a run in this process does", () =>
    withHosts(async (near, [host]) => {
      const config = { ...SHARED, vocab_size: 20 }, job = jobOf(config, { sparsity: 0.5 });
      const expected = { name: "ModelError", message: /: has no row 2\d; the number of rows is 20$/ };
      await assert.rejects(runAlone(job, near), expected);
      await assert.rejects(runInMemory(job, { pruner: remote(host.transport, config) }), expected);
    }));

  it("is refused for Gemma 4 E2B and E4B", () =>
    withHosts(async (_near, hosts) => {
      const job = jobOf(E2B, { sparsity: 0.5 });
      const jobs = new RemoteBlocks(new BlockJobs(hosts[0].transport), { config: E2B, format: "dense" });
      const transports = hosts.map(({ transport }) => transport);
      for (const pruner of [remote(transports[0], E2B), divided(transports, E2B), jobs]) {
        await assert.rejects(runInMemory(job, { pruner }), {
          name: "ModelError",
          message: /embed_tokens_per_layer\.weight: hosts do not run the blocks of Gemma 4 E2B and E4B/,
        });
      }
    }));
});

eachBackend("a run at a host", (open) => {
  it("gives the bytes of a run on the same device for blocks that read those of another", async () => {
    const host = await openLocalHost(open()), job = jobOf(SHARED, { pattern: "2:4" }, { target: "dense" });
    const alone = await runAlone(job, host);
    assertSame(await runInMemory(job, { pruner: remote(host.transport, SHARED) }), alone);
  });
});
