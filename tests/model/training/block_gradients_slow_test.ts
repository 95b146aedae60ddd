/**
 * Tests the gradients of blocks of every family. In float64, they are compared with central differences of the loss, which a second
 * forward pass without a tape computes. Each backend is then compared with the gradients in float64.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { FAMILY_MODELS } from "../../../scripts/fixtures/family_models.ts";
import type { Backend, DeviceBuffer } from "../../../src/device/backend.ts";
import { clampedGate } from "../../../src/device/kernels/forward/activate.ts";
import { DeviceWeights } from "../../../src/model/device_weights.ts";
import { blockWeights } from "../../../src/model/families/family.ts";
import { ForwardWorkspace } from "../../../src/model/forward_workspace.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { memoize } from "../../support/memoize.ts";
import { normals } from "../../../scripts/fixtures/random.ts";
import { numbersOf, referenceBackend } from "../../support/reference_backend.ts";
import {
  blockGradients,
  TOKENS,
  trainedBlocks,
  type TrainingBlock,
  trainingBlock,
  uploadInputs,
  WINDOWS,
} from "../../support/training_blocks.ts";

/** The step of the central differences, along a direction whose entries have a variance of 1. */
const STEP = 5e-6;

const READER = 3; // a block that reads the keys and values of block 1

const BLOCKS = [
  ...trainedBlocks().map(({ title, settings, index }) => ({ title, block: trainingBlock(settings, index) })),
  {
    title: "gemma4_text, of a block that reads keys and values of another",
    block: trainingBlock(FAMILY_MODELS.gemma4_text_e2b.base, READER),
  },
];

const gradientsInFloat64 = memoize((block: TrainingBlock) => blockGradients(referenceBackend(), block));

/**
 * Returns the parameters of a block by their names, and a function that computes the loss from their current values. It also returns
 * which inputs of limited gates are beyond the limit, where the loss has a kink.
 */
async function lossInFloat64(block: TrainingBlock) {
  const { spec: { hiddenSize, block: blockAt }, index } = block, { forward } = blockAt(index);
  const backend = referenceBackend(), spec = blockWeights(blockAt(index), index), { linears, norms } = spec;
  const weights = await DeviceWeights.load(backend, block.weights, spec);
  const loaded: DeviceBuffer[] = [
    ...linears.flatMap((spec) => {
      const { strips, bias } = weights.linear(spec);
      return [...strips.map(({ buffer }) => buffer), ...bias ? [bias] : []];
    }),
    ...norms.flatMap((spec) => {
      const { weight, bias } = weights.norm(spec);
      return [weight, ...bias ? [bias] : []];
    }),
  ];
  // The routes of a mixture of experts are constants, so the first outputs of the router are used in every pass.
  const outputs = new Map<string, ReturnType<Backend["read"]>>();
  let beyondLimit: boolean[] = [];
  const fixedRoutes: Backend = {
    ...backend,
    dispatch(kernel, buffers, params) {
      if (kernel.name === clampedGate.name) {
        const { gate_up } = buffers as unknown as Record<string, DeviceBuffer>;
        const { count, limit } = params as Readonly<Record<string, number>>;
        const inputs = Array.from(numbersOf(gate_up)).slice(0, 2 * count);
        beyondLimit.push(...inputs.map((x, i) => (i % 2 === 0 ? x : Math.abs(x)) > limit));
      }
      backend.dispatch(kernel, buffers, params);
    },
    read(source, ...range) {
      const first = outputs.get(source.label) ?? backend.read(source, ...range);
      outputs.set(source.label, first);
      return first;
    },
  };
  const rows = WINDOWS * TOKENS;
  const loss = async () => {
    beyondLimit = [];
    const workspace = new ForwardWorkspace(fixedRoutes), { x, ...further } = uploadInputs(backend, block);
    const sizes = { windows: WINDOWS, tokens: TOKENS, rows };
    const pass = { backend: fixedRoutes, weights, workspace, ...sizes, ...further };
    await forward(pass, x, index);
    const states = numbersOf(x);
    let sum = 0;
    for (let start = 0; start < states.length; start += hiddenSize) {
      let error = 0, norm = 0;
      for (let i = start; i < start + hiddenSize; i++) {
        error += (states[i] - block.targets[i]) ** 2;
        norm += block.targets[i] ** 2;
      }
      sum += error / norm;
    }
    return { loss: sum / rows, beyondLimit };
  };
  await loss();
  return { parameters: new Map(loaded.map((buffer) => [buffer.label, numbersOf(buffer)])), loss };
}

/** The central difference of the loss along a random direction of a tensor, beside the value that follows from its gradient. */
interface Comparison {
  readonly name: string;
  readonly expected: number;
  readonly actual: number;
  /** The length of the gradient. */
  readonly norm: number;
  /** Whether an input of a limited gate is beyond the limit on one side of the difference only. */
  readonly crossesLimit: boolean;
}

async function compareWithDifferences(block: TrainingBlock): Promise<Comparison[]> {
  const { parameters, loss } = await lossInFloat64(block), found: Comparison[] = [];
  for (const [i, [name, gradient]] of [...await gradientsInFloat64(block)].entries()) {
    const values = parameters.get(name)!,
      start = values.slice(),
      direction = normals(values.length, 500 + i);
    const at = async (step: number) => {
      start.forEach((value, j) => values[j] = value + step * direction[j]);
      return await loss();
    };
    const [after, before] = [await at(STEP), await at(-STEP)];
    values.set(start);
    found.push({
      name,
      expected: (after.loss - before.loss) / (2 * STEP),
      actual: direction.reduce((sum, value, j) => sum + value * gradient[j], 0),
      norm: Math.hypot(...Array.from(gradient)),
      crossesLimit: after.beyondLimit.some((isBeyond, j) => isBeyond !== before.beyondLimit[j]),
    });
  }
  return found;
}

function assertAgree(found: readonly Comparison[]): void {
  // The gradients of some tensors are exactly 0. The error of the differences is then relative to the largest gradient.
  const least = 1e-4 * Math.max(...found.map(({ norm }) => norm));
  for (const { name, expected, actual, norm } of found) {
    assertClose([actual], [expected], 1e-6, { label: name, scale: Math.max(norm, least) });
  }
}

describe("the gradients of a block in float64", () => {
  for (const { title, block } of BLOCKS) {
    it(`agree with central differences along a random direction of every tensor of ${title}`, async () => {
      const found = await compareWithDifferences(block), { groups, norms } = block.spec.block(block.index);
      assert.ok(found.length >= groups.flat().length + norms.filter(({ affine }) => affine).length);
      assertAgree(found);
    });
  }

  it("of gpt-oss differ from central differences only if the step moves an input of a gate across its limit", async () => {
    const { base } = FAMILY_MODELS.gpt_oss;
    // With this limit, one input is 6e-6 away from it. With the limits 1.5 and 0.75 of the variants, none is nearer than 7e-4.
    const found = await compareWithDifferences(trainingBlock({ ...base, swiglu_limit: 0.79999 }, 1));
    const { across = [], others = [] } = Object.groupBy(
      found,
      ({ crossesLimit }) => crossesLimit ? "across" : "others",
    );
    assert.ok(across.length > 0 && others.length > 10, `${across.length} and ${others.length}`);
    for (const { name, expected, actual, norm } of across) {
      assert.ok(Math.abs(actual - expected) > 1e-3 * norm, name);
    }
    assertAgree(others);
  });
});

eachBackend("the gradients of a block", (backend) => {
  for (const { title, block } of BLOCKS) {
    it(`agree with those in float64 for ${title}`, async () => {
      const expected = await gradientsInFloat64(block), actual = await blockGradients(backend(), block);
      assert.deepEqual([...actual.keys()], [...expected.keys()]);
      // The gradients of some tensors are exactly 0, so the errors are relative to the largest gradient of the block.
      const scale = Math.max(...[...expected.values()].flatMap((values) => Array.from(values, Math.abs)));
      for (const [name, values] of expected) {
        assertClose(actual.get(name)!, values, 1e-5, { label: name, scale });
      }
    });
  }

  it("add up over calls, each times its share", async () => {
    const { block } = BLOCKS[0];
    const expected = await gradientsInFloat64(block),
      actual = await blockGradients(backend(), block, [0.25, 0.5]);
    for (const [name, values] of expected) {
      const wanted = Array.from(values, (value) => 0.75 * value);
      assertClose(actual.get(name)!, wanted, 1e-5, { label: name, scale: 1 });
    }
  });
});
