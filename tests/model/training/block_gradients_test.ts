/**
 * Tests the gradients of blocks of every family. In float64, they are compared with central differences of the loss, which a second
 * forward pass without a tape computes. Each backend is then compared with the gradients in float64.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend, DeviceBuffer } from "../../../src/device/backend.ts";
import { DeviceWeights } from "../../../src/model/device_weights.ts";
import { blockWeights } from "../../../src/model/families/family.ts";
import { ForwardWorkspace } from "../../../src/model/forward_workspace.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { memoize } from "../../support/memoize.ts";
import { normals } from "../../support/random.ts";
import { numbersOf, referenceBackend } from "../../support/reference_backend.ts";
import {
  blockGradients,
  blockSettings,
  TOKENS,
  type TrainingBlock,
  trainingBlock,
  upload,
  WINDOWS,
} from "../../support/training_blocks.ts";

/** The step of the central differences, along a direction whose entries have a variance of 1. */
const STEP = 1e-5;

const BLOCKS = blockSettings(1).map(([title, settings]) => {
  const block = trainingBlock(settings, 1);
  return { title, block };
});

const gradientsInFloat64 = memoize((block: TrainingBlock) => blockGradients(referenceBackend(), block));

/** Returns the parameters of a block by their names, and a function that computes the loss from their current values. */
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
  const fixedRoutes: Backend = {
    ...backend,
    read(source, ...range) {
      const first = outputs.get(source.label) ?? backend.read(source, ...range);
      outputs.set(source.label, first);
      return first;
    },
  };
  const rows = WINDOWS * TOKENS;
  const loss = async () => {
    const workspace = new ForwardWorkspace(fixedRoutes), x = upload(backend, block.inputs);
    const pass = { backend: fixedRoutes, weights, workspace, windows: WINDOWS, tokens: TOKENS, rows };
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
    return sum / rows;
  };
  await loss();
  return { parameters: new Map(loaded.map((buffer) => [buffer.label, numbersOf(buffer)])), loss };
}

describe("the gradients of a block in float64", () => {
  for (const { title, block } of BLOCKS) {
    it(`agree with central differences along a random direction of every tensor of ${title}`, async () => {
      const { parameters, loss } = await lossInFloat64(block);
      const found: { name: string; expected: number; actual: number; norm: number }[] = [];
      for (const [i, [name, gradient]] of [...await gradientsInFloat64(block)].entries()) {
        const values = parameters.get(name)!,
          start = values.slice(),
          direction = normals(values.length, 500 + i);
        const losses: number[] = [];
        for (const step of [STEP, -STEP]) {
          start.forEach((value, j) => values[j] = value + step * direction[j]);
          losses.push(await loss());
        }
        values.set(start);
        const expected = (losses[0] - losses[1]) / (2 * STEP);
        const actual = direction.reduce((sum, value, j) => sum + value * gradient[j], 0);
        found.push({ name, expected, actual, norm: Math.hypot(...Array.from(gradient)) });
      }
      const { groups, norms } = block.spec.block(1);
      assert.ok(found.length >= groups.flat().length + norms.filter(({ affine }) => affine).length);
      // The gradients of some tensors are exactly 0. The error of the differences is then relative to the largest gradient.
      const least = 1e-4 * Math.max(...found.map(({ norm }) => norm));
      for (const { name, expected, actual, norm } of found) {
        assertClose([actual], [expected], 1e-6, { label: name, scale: Math.max(norm, least) });
      }
    });
  }
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
