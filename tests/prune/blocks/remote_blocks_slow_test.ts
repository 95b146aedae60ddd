/** Tests that a run whose blocks are pruned at a host gives the same bytes, reports and errors as a run in this process. `divided_blocks_slow_test.ts` tests the options of runs. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { calibrationWindows } from "../../../src/layer/calibration/windows.ts";
import type { TensorSource } from "../../../src/model/checkpoint/tensor_source.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { type Model, openModel } from "../../../src/model/model.ts";
import { BlockHost } from "../../../src/client/blocks/block_host.ts";
import { PACK_QUANTIZED_FORMAT } from "../../../src/model/formats/pack_quantized.ts";
import { packAnswer } from "../../../src/prune/quantized_model.ts";
import type { OpenDestination, PruneJob } from "../../../src/prune/run/job.ts";
import type { LayerQuery } from "../../../src/protocol/layer_query.ts";
import { copyTensor, type HostTensor } from "../../../src/tensor/host_tensor.ts";
import { eachBackend } from "../../support/backends.ts";
import { assertSame } from "../../support/assert_same.ts";
import { readFamilyFixture } from "../../support/family_fixtures.ts";
import { openFixture } from "../../support/fixture_models.ts";
import { openLocalHost } from "../../support/local_host.ts";
import { sotuTokens, useOptSotu } from "../../support/opt_sotu.ts";
import { remote, runAlone, runInMemory, withHosts } from "./run_in_memory.ts";

const windows = calibrationWindows(await sotuTokens("calibration"), { windows: 9, seqlen: 24 });

const opt = useOptSotu();

function jobOf(model: Model, query: LayerQuery, options: Partial<PruneJob> = {}): PruneJob {
  return {
    model,
    windows: windows.filter((_, i) => i !== 4),
    validationWindows: [windows[4]],
    queryOf: () => query,
    ...options,
  };
}

/** The blocks whose layers are chosen, and whether each request of the second run computes anything. */
const LOST_ANSWERS: readonly (readonly [string, PruneJob["layers"], readonly boolean[]])[] = [
  ["a block", undefined, [false, true, true]],
  [
    "the last chosen block, which is not the last of the model",
    { has: (name) => /layers\.[01]\./.test(name) },
    [false],
  ],
];

describe("RemoteBlocks", () => {
  it("gives the same bytes in the layout pack-quantized, whose scales are rounded", () =>
    withHosts(async (near, [far]) => {
      const query: LayerQuery = { sparsity: 0.5, bits: 4, group_size: 32, symmetric: true };
      const job = jobOf(opt.model, query);
      const takeAnswer: OpenDestination["takeAnswer"] = (layer) =>
        Promise.resolve(packAnswer(PACK_QUANTIZED_FORMAT, query, layer).dense);
      const alone = await runAlone(job, near, { takeAnswer });
      const pruner = remote(far.transport, opt.checkpoint.config, { format: "pack-quantized" });
      assertSame(await runInMemory(job, { pruner }, { takeAnswer }), alone);
    }));

  it("gives the same bytes if only some layers of some blocks are pruned", () =>
    withHosts(async (near, [far]) => {
      const prefix = "model.decoder.layers";
      const layers = new Set(
        ["1.fc1", "1.self_attn.q_proj", "2.fc2"].map((name) => `${prefix}.${name}.weight`),
      );
      const job = jobOf(opt.model, { sparsity: 0.5 }, { layers });
      const alone = await runAlone(job, near);
      assert.equal(alone.replaced.size, 3);
      assertSame(await runInMemory(job, { pruner: remote(far.transport, opt.checkpoint.config) }), alone);
    }));

  for (const target of ["none", "dense"] as const) {
    it(`runs the blocks again if the host loses the states, with the target ${target}`, () =>
      withHosts(async (near, [far]) => {
        const job = jobOf(opt.model, { pattern: "2:4" }, { target, reconstruct: 1 });
        const alone = await runAlone(job, near);
        const rebuilt: number[] = [];
        const onRebuild = (block: number) => void rebuilt.push(block);
        const pruner = remote(far.transport, opt.checkpoint.config, { onRebuild });
        let layers = 0;
        const onLayerDone = async () =>
          void (++layers === 14 && await new BlockHost(far.transport, "run").delete());
        const result = await runInMemory(job, { pruner, onLayerDone: () => void onLayerDone() });
        assert.deepEqual(rebuilt, [3]);
        assertSame(result, alone);
      }));
  }

  for (const [what, layers, sent] of LOST_ANSWERS) {
    it(`uses the stored answer if the client has lost the answer for ${what}`, () =>
      withHosts(async (near, [far]) => {
        const job = jobOf(opt.model, { pattern: "2:4" }, { layers });
        const alone = await runAlone(job, near);
        let stored = 0, error: Error | undefined = new Error("the disk is full");
        const replaced = new Map<string, HostTensor>(), finished = new Set<string>();
        const changes: Partial<OpenDestination> = {
          replace(name, weight) {
            if (++stored === 9 && error) throw error;
            replaced.set(name, copyTensor(weight));
            return Promise.resolve();
          },
          readFinished: (name) => Promise.resolve(replaced.get(name)!),
          record: ({ name }) => Promise.resolve(void finished.add(name)),
          finished,
        };
        const services = { pruner: remote(far.transport, opt.checkpoint.config) };
        await assert.rejects(runInMemory(job, services, { ...changes, finished: new Set() }), error);
        assert.equal(finished.size, 8);
        error = undefined;
        const { counters } = far.backend, dispatches: number[] = [];
        const application = async (request: Request) => {
          const before = counters.dispatches, answer = await far.transport.application!(request);
          if (request.method === "POST") dispatches.push(counters.dispatches - before);
          return answer;
        };
        const pruner = remote({ ...far.transport, application }, opt.checkpoint.config);
        await runInMemory(job, { pruner }, { ...changes, finished: new Set(finished) });
        assertSame(replaced, alone.replaced);
        assert.deepEqual(dispatches.map((count) => count > 0), sent);
      }));
  }
});

/** Returns the model with the names that transformers gives a Mixtral with the experts of a block in one tensor. */
function splitMixtral({ weights }: Model, config: Readonly<Record<string, unknown>>): Model {
  const names = { w1: "gate_proj", w2: "down_proj", w3: "up_proj" };
  const stored = (name: string) =>
    Object.entries(names).reduce((name, [old, other]) => name.replace(`.${other}.`, `.${old}.`), name)
      .replace(".mlp.", ".block_sparse_moe.");
  const renamed: TensorSource = {
    has: (name) => !name.includes("block_sparse_moe") && weights.has(stored(name)),
    info: (name) => weights.info(stored(name)),
    read: (name, ...range) => weights.read(stored(name), ...range),
  };
  return { spec: readModelSpec(config, renamed.has), weights: renamed };
}

for (const family of ["qwen3_moe", "gpt2", "mixtral"]) {
  it(`RemoteBlocks gives the same bytes for ${family}`, async () => {
    const { windows, variants: [{ model: stored, config }] } = await readFamilyFixture(family);
    const model = family === "mixtral" ? splitMixtral(stored, config) : stored;
    const job = { model, windows, queryOf: () => ({ sparsity: 0.5 }) };
    await withHosts(async (near, [far]) => {
      const alone = await runAlone(job, near);
      assert.equal(alone.replaced.has("model.layers.0.mlp.experts.0.gate_proj.weight"), family !== "gpt2");
      assertSame(await runInMemory(job, { pruner: remote(far.transport, config) }), alone);
    });
  });
}

it("RemoteBlocks ends a run whose layers are stored, although the host does not delete the states", async () => {
  const { windows, variants: [{ model, config }] } = await readFamilyFixture("gpt2");
  await using far = await openLocalHost("cpu");
  const application = (request: Request) => {
    if (request.method === "DELETE") throw new TypeError("connection refused");
    return far.transport.application!(request);
  };
  const errors: Error[] = [], onNotDeleted = (error: Error) => void errors.push(error);
  const pruner = remote({ ...far.transport, application }, config, { onNotDeleted });
  const { replaced } = await runInMemory({ model, windows, queryOf: () => ({ sparsity: 0.5 }) }, { pruner });
  assert.equal(replaced.size, model.spec.blockCount * model.spec.block(0).groups.flat().length);
  assert.deepEqual(errors.map(({ name }) => name), ["ConnectionError"]);
});

eachBackend("RemoteBlocks", (open) => {
  it("gives the same bytes for llama-sotu", async () => {
    const checkpoint = await openFixture("llama-sotu"), model = openModel(checkpoint);
    const host = await openLocalHost(open());
    const layers = new Set(
      ["self_attn.q_proj", "mlp.down_proj"].map((name) => `model.layers.0.${name}.weight`),
    );
    const job = jobOf(model, { pattern: "2:4" }, { layers });
    const alone = await runAlone(job, host);
    assert.equal(alone.replaced.size, 2);
    assertSame(await runInMemory(job, { pruner: remote(host.transport, checkpoint.config) }), alone);
    await checkpoint.close();
  });
});
