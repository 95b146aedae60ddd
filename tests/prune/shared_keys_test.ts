/**
 * Tests the calibration of a small Gemma 4 E2B, whose last blocks read the keys and values of earlier blocks, and whose blocks have inputs
 * that depend on the ids of the tokens. The tests of the families compare the dense model with transformers.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import type { Backend } from "../../src/device/backend.ts";
import { type TensorSource, withReplacements } from "../../src/model/checkpoint/tensor_source.ts";
import { HiddenStatesFolder } from "../../src/model/hidden_states/hidden_states_folder.ts";
import { replaceWeights, type RunOptions } from "../support/solve_blocks.ts";
import { bytesToFloats } from "../../src/tensor/dtype.ts";
import { asFloat32, type HostTensor } from "../../src/tensor/host_tensor.ts";
import { assertClose } from "../support/assert_close.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { denseStatistics } from "../support/dense_statistics.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

const { variants: [{ model }], windows: [first, second] } = await readFamilyFixture("gemma4_text_e2b");
const windows = [first, second, first.toReversed()], validationWindows = [second.toReversed()];

/** The last block, which reads the keys and values of block 1. */
const LAST = 3;

/** Sets every third weight to 0. */
function thinned({ data, shape }: HostTensor): HostTensor {
  const values = bytesToFloats(data, "BF16").map((value, i) => i % 3 === 0 ? 0 : value);
  return { dtype: "F32", shape, data: new Uint8Array(values.buffer) };
}

/** Replaces the layers in order until `last` is replaced. Returns the statistics by the names of the weights. */
async function run(
  backend: Backend,
  options: Partial<RunOptions>,
  last?: string,
): Promise<Map<string, Float32Array>> {
  const statistics = new Map<string, Float32Array>();
  const run = replaceWeights(model, backend, { windows, ...options }, async ({ name, weight }, group) => {
    if (statistics.has(last ?? "")) throw new Error("stopped");
    statistics.set(name, asFloat32((await group.hessian!.packedUpper()).data));
    return thinned(weight);
  });
  await (last === undefined ? run : assert.rejects(run, /stopped/));
  assert.equal(backend.counters.bytesLive, 0);
  return statistics;
}

eachBackend("a calibration with shared keys and values", (backend) => {
  it("gives the statistics of the pruned model, if each layer is calibrated after the earlier layers are pruned", async () => {
    const replaced = new Map<string, HostTensor>();
    const replace = (name: string, weight: HostTensor) => Promise.resolve(void replaced.set(name, weight));
    const actual = await run(backend(), { trueSequential: true, replace });
    const pruned = { ...model, weights: withReplacements(model.weights, replaced) };
    const { hessians } = await denseStatistics(pruned, backend(), windows);
    assert.equal(actual.size, hessians.size);
    for (const [name, hessian] of hessians) assertClose(actual.get(name)!, hessian, 1e-5, { label: name });
  });

  it("reads only one block's part of the table of inputs, once per block and id", async () => {
    const { table, size } = model.spec.tokenInputs!, lengths: number[] = [];
    const weights: TensorSource = {
      has: (name) => model.weights.has(name),
      info: (name) => model.weights.info(name),
      read(name, offset, length) {
        if (name === table) lengths.push(length);
        return model.weights.read(name, offset, length);
      },
    };
    await denseStatistics({ ...model, weights }, backend(), windows);
    const ids = new Set(windows.flatMap((window) => [...window])), { blockCount } = model.spec;
    assert.deepEqual(lengths, Array(ids.size * blockCount).fill(2 * size));
  });

  it("gives the same statistics with states in host memory and on disk, and close statistics in other batches", async () => {
    const memory = { activationBytes: 1 }, whole = await run(backend(), { memory });
    assertSame(await run(backend(), { memory: { ...memory, hiddenStatesBytes: 0 } }), whole);
    await withTemporaryFolder(async (path) => {
      const hiddenStates = {
        folder: new HiddenStatesFolder(denoFileSystem, path),
        location: "disk",
      } as const;
      assertSame(await run(backend(), { memory, hiddenStates }), whole);
    });
    for (const [name, sum] of await run(backend(), {})) {
      assertClose(sum, whole.get(name)!, 1e-5, { label: name });
    }
  });

  for (const hasTargets of [false, true]) {
    it(`gives close statistics if it is resumed in other batches, with hasTargets ${hasTargets}`, () =>
      withTemporaryFolder(async (path) => {
        const replaced = new Map<string, HostTensor>();
        const finished = {
          has: (name: string) => replaced.has(name),
          read: (name: string) => Promise.resolve(replaced.get(name)!),
        };
        const replace = (name: string, weight: HostTensor) =>
          Promise.resolve(void replaced.set(name, weight));
        const folder = new HiddenStatesFolder(denoFileSystem, path);
        const options = { hasTargets, hiddenStates: { folder, location: "memory" } as const, replace };
        const whole = await run(backend(), { hasTargets });
        const queries = `model.layers.${LAST}.self_attn.q_proj.weight`;
        await run(backend(), { ...options, memory: { activationBytes: 1 } }, queries);
        assert.equal(await folder.lastBlock(), LAST);
        const rest = await run(backend(), { ...options, finished });
        assert.ok(rest.size > 0 && rest.size < 7, `${rest.size}`);
        for (const [name, sum] of rest) assertClose(sum, whole.get(name)!, 1e-5, { label: name });
      }));

    it(`lowers the error of every block by a reconstruction, with hasTargets ${hasTargets}`, async () => {
      const blocks: number[] = [];
      await run(backend(), {
        hasTargets,
        validationWindows,
        reconstruct: 3,
        recordReconstruction(block, { before, after, keptEpoch }) {
          assert.ok(keptEpoch > 0 && after < before, `block ${block}: ${before} and ${after}`);
          return Promise.resolve(void blocks.push(block));
        },
      });
      assert.deepEqual(blocks, [0, 1, 2, LAST]);
    });
  }
});
