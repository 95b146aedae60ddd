/** Tests the reconstruction of pruned blocks. The errors before and after it are compared with forward passes in float64. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import type { SourceLayer } from "../../src/protocol/run/solve_round.ts";
import type { ReconstructedBlock } from "../../src/protocol/blocks/solved_block.ts";
import { divideIntoSteps } from "../../src/prune/reconstruct_block.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { blockOutputError } from "../reference/block_output_error.ts";
import { readOptReference } from "../reference/opt_forward.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";
import { replaceWeights, type RunOptions } from "../support/solve_blocks.ts";
import { OPT_SOTU_URL, sotuTokens, useOptSotu } from "../support/opt_sotu.ts";

const SEQLEN = 5, EPOCHS = 3;
const windows = calibrationWindows(await sotuTokens("calibration"), { windows: 9, seqlen: SEQLEN });
const heldOut = calibrationWindows(await sotuTokens("evaluation"), { windows: 2, seqlen: SEQLEN });

function floats({ data, dtype }: HostTensor): Float32Array<ArrayBuffer> {
  return bytesToFloats(data as Uint8Array<ArrayBuffer>, dtype as FloatDtype);
}

/** Sets two of every four weights to 0. */
function halved(weight: HostTensor): HostTensor {
  const values = floats(weight).map((value, i) => i % 4 < 2 ? value : 0);
  return { dtype: "F32", shape: weight.shape, data: new Uint8Array(values.buffer) };
}

function assertNear(actual: number, expected: number, what: string): void {
  assert.ok(Math.abs(actual / expected - 1) < 1e-4, `${what}: ${actual}, expected ${expected}`);
}

describe("divideIntoSteps()", () => {
  it("divides batches into steps of eight windows, which may span batches, without the held-out windows", () => {
    const parts = [{ first: 0, count: 6 }, { first: 6, count: 5 }, { first: 11, count: 2 }]
      .map((batch) => [...divideIntoSteps(batch, 11)]);
    assert.deepEqual(parts, [
      [{ offset: 0, count: 6, share: 6 / 8, endsStep: false }],
      [
        { offset: 0, count: 2, share: 2 / 8, endsStep: true },
        { offset: 2, count: 3, share: 1, endsStep: true },
      ],
      [],
    ]);
  });
});

const opt = useOptSotu();

/** The bytes of the activations of one window. */
const WINDOW_BYTES = 70_000;

eachBackend("a run with reconstruction", (backend) => {
  for (
    const [what, options] of [
      ["on the fitted windows, one per batch", { memory: { activationBytes: WINDOW_BYTES } }],
      ["on held-out windows, with states in host memory", {
        memory: { activationBytes: 3 * WINDOW_BYTES, hiddenStatesBytes: 0 },
        validationWindows: heldOut,
      }],
      ["towards the outputs of the dense model", { hasTargets: true, validationWindows: heldOut }],
    ] as readonly (readonly [string, Partial<RunOptions>])[]
  ) {
    it(`lowers the error of each pruned block, measured ${what}`, async () => {
      const dense = readOptReference(OPT_SOTU_URL), pruned = readOptReference(OPT_SOTU_URL);
      const wanted = options.hasTargets ? readOptReference(OPT_SOTU_URL) : dense;
      const measured = options.validationWindows ?? windows, solved = new Map<string, Float64Array>();
      const blocks: number[] = [];
      await replaceWeights(opt.model, backend(), {
        windows,
        layers: { has: (name) => /layers\.[03]\./.test(name) && !name.includes("k_proj") },
        reconstruct: EPOCHS,
        replace: (name, weight) => Promise.resolve(void solved.set(name, Float64Array.from(floats(weight)))),
        recordReconstruction(block, { before, after, keptEpoch, epochs, tensors }) {
          for (const [name, values] of solved) pruned.tensors.set(name, values);
          assertNear(before, blockOutputError(wanted, pruned, block, measured), `block ${block} before`);
          assert.ok(after < before && keptEpoch > 0 && keptEpoch <= EPOCHS && epochs === EPOCHS);
          const prefix = `model.decoder.layers.${block}.`;
          assert.ok(!tensors.has(`${prefix}self_attn.k_proj.weight`), "was not pruned");
          for (const name of solved.keys()) assert.ok(tensors.has(name), name);
          for (const [name, tensor] of tensors) {
            assert.equal(tensor.dtype, "F16");
            const values = floats(tensor), start = pruned.tensors.get(name)!;
            assert.ok(values.some((value, i) => value !== start[i]), `${name} was not trained`);
            if (solved.has(name)) {
              assert.ok(values.every((value, i) => start[i] !== 0 || value === 0), `${name} has lost zeros`);
            }
            pruned.tensors.set(name, Float64Array.from(values));
          }
          assertNear(after, blockOutputError(wanted, pruned, block, measured), `block ${block} after`);
          for (const [name, values] of pruned.tensors) {
            if (name.startsWith(prefix)) dense.tensors.set(name, values);
          }
          solved.clear();
          blocks.push(block);
          return Promise.resolve();
        },
        ...options,
      }, ({ weight }) => halved(weight));
      assert.deepEqual(blocks, [0, 3]);
      assert.equal(backend().counters.bytesLive, 0);
    });
  }

  it("rounds the layers of a block after it was trained, also if an earlier process has rounded some of them", async () => {
    /** Returns the layers of block 1 that are yielded after the reconstruction, and its trained tensors. */
    const run = async (finished: ReadonlyMap<string, HostTensor>) => {
      const first = new Map<string, HostTensor>(), last = new Map<string, SourceLayer>();
      const rounded = new Map(finished), results: ReconstructedBlock[] = [];
      await replaceWeights(opt.model, backend(), {
        windows,
        validationWindows: heldOut,
        layers: { has: (name) => name.includes("layers.1.") },
        finished,
        readFinished: (name) => Promise.resolve(finished.get(name)!),
        reconstruct: EPOCHS,
        hasTargets: true,
        isRounded: (name) => name.includes("fc2"),
        replace: (name, weight) => Promise.resolve(void rounded.set(name, weight)),
        recordReconstruction: (_block, result) => Promise.resolve(void results.push(result)),
      }, (layer) => {
        const { name, weight, solution } = layer;
        if (layer.mask === undefined) {
          assert.ok(solution, "the first solution has targets");
          first.set(name, halved(weight));
          return halved(weight);
        }
        assert.ok(!solution, "the last solution has no targets");
        last.set(name, layer);
        return weight;
      });
      return { first, last, rounded, result: results[0] };
    };
    const whole = await run(new Map());
    assert.equal(whole.last.size, 6);
    for (const [name, { weight, mask }] of whole.last) {
      const before = floats(whole.first.get(name)!), trained = floats(weight);
      assert.ok(trained.some((value, i) => Math.abs(value - before[i]) > 1e-4), `${name} was not trained`);
      assert.ok(before.every((value, i) => value !== 0 || trained[i] === 0), `${name} has lost zeros`);
      assertSame(mask!.data, Uint8Array.from(trained, (value) => value === 0 ? 0 : 1));
    }
    assert.ok(whole.result.after < whole.result.before);
    assert.deepEqual(
      [...whole.result.tensors.keys()].filter((name) => whole.rounded.has(name)),
      [],
      "the trained weights are rounded, so they are not stored",
    );
    assert.equal(whole.result.tensors.size, 10, "six biases, and two norms with theirs");
    const earlier = [...whole.rounded].slice(0, 4);
    const rest = await run(new Map(earlier));
    assertSame(rest.last, new Map([...whole.last].slice(4)));
    assertSame(rest.rounded, whole.rounded);
    assertSame(rest.result, { ...whole.result, seconds: rest.result.seconds });
    assert.equal(backend().counters.bytesLive, 0);
  });

  it("ends in the same errors, whatever the batches", async () => {
    const results = await Promise.all([1, 3, 20].map(async (count) => {
      const results: ReconstructedBlock[] = [];
      await replaceWeights(opt.model, backend(), {
        windows,
        layers: { has: (name) => name.includes("layers.1.") },
        memory: { activationBytes: count * WINDOW_BYTES },
        reconstruct: 2,
        recordReconstruction: (_block, result) => Promise.resolve(void results.push(result)),
      }, ({ weight }) => halved(weight));
      return results[0].after;
    }));
    for (const after of results) assertNear(after, results[0], "after");
  });

  it("keeps a block that cannot become better, although it has epochs", async () => {
    const results: ReconstructedBlock[] = [];
    await replaceWeights(opt.model, backend(), {
      windows: windows.slice(0, 1),
      layers: { has: (name) => name.includes("layers.0.fc1") },
      reconstruct: 1,
      recordReconstruction: (_block, result) => Promise.resolve(void results.push(result)),
    }, ({ weight }) => weight);
    const [{ before, after, keptEpoch, tensors }] = results;
    assert.deepEqual([results.length, before, after, keptEpoch, tensors.size], [1, 0, 0, 0, 0]);
  });

  it("trains the experts of a mixture, but not its router", async () => {
    const { windows, variants: [{ model }] } = await readFamilyFixture("qwen3_moe");
    const results: ReconstructedBlock[] = [];
    await replaceWeights(model, backend(), {
      windows,
      reconstruct: 2,
      recordReconstruction: (_block, result) => Promise.resolve(void results.push(result)),
    }, ({ weight }) => halved(weight));
    assert.equal(results.length, model.spec.blockCount);
    for (const { before, after, tensors } of results) {
      assert.ok(after < before, `${after} after ${before}`);
      const names = [...tensors.keys()];
      assert.ok(
        names.some((name) => name.includes("experts.")) &&
          !names.some((name) => /\.gate\.weight$/.test(name)),
      );
    }
  });
});
