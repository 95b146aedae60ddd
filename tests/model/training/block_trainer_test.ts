/** Tests training, the remembered parameters, the tensors that are read back, and that all device memory is freed. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Settings } from "../../../scripts/fixtures/family_models.ts";
import type { Backend } from "../../../src/device/backend.ts";
import { readTensor } from "../../../src/model/checkpoint/tensor_source.ts";
import { ForwardWorkspace } from "../../../src/model/forward_workspace.ts";
import { BlockTrainer } from "../../../src/model/training/block_trainer.ts";
import { asFloat32, type HostTensor } from "../../../src/tensor/host_tensor.ts";
import { assertClose } from "../../support/assert_close.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";
import { upload } from "../../support/device.ts";
import { failingAllocation, limitBuffers } from "../../support/limited_backend.ts";
import { numbersOf, referenceBackend, ReferenceBuffer } from "../../support/reference_backend.ts";
import {
  addGradients,
  blockSettings,
  TOKENS,
  type TrainingBlock,
  trainingBlock,
  uploadInputs,
  WINDOWS,
} from "../../support/training_blocks.ts";

const SETTINGS = new Map(blockSettings());
/** One family of each kind: LayerNorms and biases, transposed layers, norms with an offset, and experts. */
const TITLES = [
  "opt with norms before each half",
  "gpt2 with four heads",
  "gemma2 with a window in its first block",
  "mixtral with two of four experts",
];
const STEPS = 20, LEARNING_RATE = 0.01;

function blockOf(title: string): TrainingBlock {
  return trainingBlock(SETTINGS.get(title) as Settings);
}

function loadTrainer(
  backend: Backend,
  { spec, index, weights }: TrainingBlock,
  isTrained: (name: string) => boolean = () => true,
): Promise<BlockTrainer> {
  return BlockTrainer.load(backend, spec, index, weights, isTrained);
}

/** Runs the block with the trainer's weights, without a tape. */
async function outputsOf(
  backend: Backend,
  { weights }: BlockTrainer,
  block: TrainingBlock,
): Promise<ArrayLike<number>> {
  const { spec, index } = block, { x, destroy, ...further } = uploadInputs(backend, block);
  const workspace = new ForwardWorkspace(backend), rows = WINDOWS * TOKENS;
  await spec.block(index).forward(
    { backend, weights, workspace, windows: WINDOWS, tokens: TOKENS, rows, ...further },
    x,
    index,
  );
  const outputs = x instanceof ReferenceBuffer
    ? numbersOf(x)
    : asFloat32(await backend.read(x, 0, x.byteLength));
  destroy();
  workspace.destroy();
  return outputs;
}

/** Returns the mean of ‖output − target‖²/‖target‖² over the tokens. */
function lossOf(outputs: ArrayLike<number>, { targets, spec: { hiddenSize } }: TrainingBlock): number {
  let sum = 0;
  for (let start = 0; start < targets.length; start += hiddenSize) {
    let error = 0, norm = 0;
    for (let i = start; i < start + hiddenSize; i++) {
      error += (outputs[i] - targets[i]) ** 2;
      norm += targets[i] ** 2;
    }
    sum += error / norm;
  }
  return sum * hiddenSize / targets.length;
}

async function train(
  backend: Backend,
  trainer: BlockTrainer,
  block: TrainingBlock,
  steps = STEPS,
): Promise<void> {
  for (let step = 0; step < steps; step++) {
    await addGradients(backend, trainer, block);
    trainer.update(LEARNING_RATE);
  }
}

async function tensorsOf(trainer: BlockTrainer): Promise<Map<string, HostTensor>> {
  return new Map(await Array.fromAsync(trainer.tensors()));
}

eachBackend("BlockTrainer", (backend) => {
  for (const title of TITLES) {
    it(`lowers the loss of ${title} as much as in float64, and leaves the zeros of weights at 0`, async () => {
      const block = blockOf(title), reference = referenceBackend();
      const trainer = await loadTrainer(backend(), block), exact = await loadTrainer(reference, block);
      const before = lossOf(await outputsOf(backend(), trainer, block), block);
      await train(backend(), trainer, block);
      await train(reference, exact, block);
      const loss = lossOf(await outputsOf(backend(), trainer, block), block);
      assertClose([loss], [lossOf(await outputsOf(reference, exact, block), block)], 1e-3);
      assert.ok(loss < 0.7 * before, `the loss went from ${before} to ${loss}`);
      for (const [name, { shape, data }] of await tensorsOf(trainer)) {
        const stored = asFloat32((await readTensor(block.weights, name)).data), trained = asFloat32(data);
        if (shape.length === 2) {
          assert.ok(trained.every((value, i) => (value === 0) === (stored[i] === 0)), `zeros of ${name}`);
        }
        assert.notDeepEqual(trained, stored, name);
      }
      trainer.destroy();
    });
  }

  it("writes the outputs of the block over the inputs, as a pass without a tape does", async () => {
    for (const title of backend().kind === "cpu" ? SETTINGS.keys() : TITLES) {
      const block = blockOf(title), trainer = await loadTrainer(backend(), block);
      const inputs = uploadInputs(backend(), block), y = upload(backend(), block.targets), { x } = inputs;
      await trainer.addGradients(inputs, y, WINDOWS, TOKENS, 1);
      const outputs = asFloat32(await backend().read(x, 0, x.byteLength));
      assertClose(outputs, await outputsOf(backend(), trainer, block), 1e-6, { label: title });
      for (const one of [inputs, y, trainer]) one.destroy();
    }
  });

  it("reads back what it loaded, under the names and in the shapes of the checkpoint", async () => {
    for (const title of TITLES) {
      const block = blockOf(title), { denseLayers = [], prefix } = block.spec.block(0);
      const trainer = await loadTrainer(backend(), block), tensors = await tensorsOf(trainer);
      for (const [name, { dtype, shape, data }] of tensors) {
        const stored = await readTensor(block.weights, name);
        assert.deepEqual({ dtype, shape }, { dtype: "F32", shape: stored.shape });
        assertClose(asFloat32(data), asFloat32(stored.data), name.includes("layernorm") ? 2e-7 : 0, {
          label: name,
        });
      }
      const isRouter = (name: string) =>
        denseLayers.some((layer) => name === `${prefix(0)}${layer.name}.weight`);
      assert.ok([...tensors.keys()].every((name) => !isRouter(name)));
      trainer.destroy();
    }
  });

  it("trains the weights that are asked for, and the biases and norms of all layers", async () => {
    const block = blockOf(TITLES[0]), prefix = "model.decoder.layers.0.";
    const trainer = await loadTrainer(backend(), block, (name) => name === `${prefix}fc1`);
    const names = [...(await tensorsOf(trainer)).keys()].map((name) => name.replace(prefix, ""));
    const layers = [
      "self_attn.q_proj",
      "self_attn.k_proj",
      "self_attn.v_proj",
      "self_attn.out_proj",
      "fc1",
      "fc2",
    ];
    const norms = ["self_attn_layer_norm", "final_layer_norm"];
    const all = [...layers, ...norms].map((name) => `${name}.bias`);
    assert.deepEqual(
      names.toSorted(),
      [...all, ...norms.map((name) => `${name}.weight`), "fc1.weight"].toSorted(),
    );
    trainer.destroy();
  });

  it("goes back to the remembered parameters bit for bit, and refuses to if there are none", async () => {
    const block = blockOf(TITLES[0]), trainer = await loadTrainer(backend(), block);
    assert.throws(() => trainer.restore(), TypeError);
    await train(backend(), trainer, block, 1);
    trainer.remember();
    const remembered = await tensorsOf(trainer);
    await train(backend(), trainer, block, 2);
    assert.notDeepEqual(await tensorsOf(trainer), remembered);
    trainer.restore();
    assertSame(await tensorsOf(trainer), remembered);
    trainer.destroy();
  });

  it("trains weights in several strips like weights in one", async () => {
    // The limits are less than the largest weight, and no less than the largest activation.
    for (const [title, maxBufferBytes] of [[TITLES[0], 2636], [TITLES[1], 2688]] as const) {
      const block = blockOf(title), inStrips = limitBuffers(backend(), maxBufferBytes);
      const whole = await loadTrainer(backend(), block), divided = await loadTrainer(inStrips, block);
      assert.ok(
        block.spec.block(0).groups.flat().some((spec) => divided.weights.linear(spec).strips.length > 1),
      );
      await train(backend(), whole, block, 1);
      await train(inStrips, divided, block, 1);
      const [loss, expected] = [divided, whole].map((trainer) => outputsOf(backend(), trainer, block));
      assertClose(await loss, await expected, 1e-5, { label: title });
      for (const trainer of [whole, divided]) trainer.destroy();
    }
  });
});

describe("the device memory of a BlockTrainer", () => {
  for (const [title, settings] of SETTINGS) {
    it(`of ${title} is freed at the end`, async () => {
      const block = trainingBlock(settings), backend = referenceBackend(), { counters } = backend;
      const trainer = await loadTrainer(backend, block);
      await train(backend, trainer, block, 2);
      trainer.remember();
      trainer.destroy();
      assert.equal(counters.bytesLive, 0);
    });
  }

  it("is freed if a buffer cannot be allocated", async () => {
    const block = blockOf(TITLES[0]);
    for (const created of [3, 25]) {
      const backend = referenceBackend();
      await assert.rejects(loadTrainer(failingAllocation(backend, created), block), /refused by the test/);
      assert.equal(backend.counters.bytesLive, 0);
    }
  });
});
