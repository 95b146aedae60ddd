/**
 * Reconstructs a block after its layers are pruned. The kept weights of the pruned layers, the biases and the norms are
 * trained, so that the output of the block comes near to the output of the dense block. Zeros stay zeros. `pare shrink`
 * also trains the weights of the layers that lose no columns. 3BASiL (arXiv 2603.01376) calls this transformer matching.
 */

import type { ReconstructedBlock } from "../protocol/blocks/solved_block.ts";
import type { BatchPart } from "../model/batch_runner.ts";
import type { Batch } from "../model/batches.ts";
import {
  convertReplacement,
  type TensorSource,
  withReplacements,
} from "../model/checkpoint/tensor_source.ts";
import { ResourceSet } from "../device/owned.ts";
import type { Forward } from "../model/forward.ts";
import type { HiddenStates } from "../model/hidden_states/hidden_states.ts";
import { BlockTrainer } from "../model/training/block_trainer.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { BlockMeter } from "./block_meter.ts";
import type { OpenBlock } from "./open_block.ts";

/** The number of windows of a step of Adam. */
const STEP_WINDOWS = 8;

/**
 * The learning rate of the first step. Later rates follow a cosine down to the share {@link LAST_SHARE} of the first.
 * SparseGPT at 2:4 gives llama-sotu a perplexity of 50.87. Five epochs lower it to 48.13 with 2e-4, to 46.43 with 5e-4,
 * and to 45.48 with 1e-3, a rate that was tried on small models only.
 */
const LEARNING_RATE = 5e-4;
const LAST_SHARE = 1 / 5;

export interface ReconstructionTask {
  /** A forward pass before the block. If it has a dense stream, the stream is before the block or after it. */
  readonly forward: Forward;
  /** The block, whose layers are pruned. The trained tensors are added to those that it replaces. */
  readonly openBlock: OpenBlock;
  readonly epochs: number;
  /** The number of windows that are fitted. The later windows are held out. */
  readonly fitted: number;
  /** Whether the weight `name` is trained. Biases and norms are trained in any case. @default the pruned weights are trained */
  readonly isTrained?: (name: string) => boolean;
  /** Begins an epoch. The returned function is called after each batch, and may throw to stop. */
  begin(): () => void;
}

/**
 * Trains the block on the fitted windows. The wanted output y is the output of the dense stream if there is
 * one, and otherwise the output of the dense block on the same inputs. The loss is the mean over all tokens of ‖Δy‖²/‖y‖². The
 * held-out windows choose the best epoch, or the fitted windows if none are held out. The parameters after this epoch
 * are rounded to the dtypes of the checkpoint. If they are then no better than those before the training, the block
 * stays as it is.
 * @throws the errors of `BlockTrainer` and of `begin`
 */
export async function reconstructBlock(task: ReconstructionTask): Promise<ReconstructedBlock> {
  const { forward, openBlock: { block, weights, replaced }, epochs } = task, started = performance.now();
  using scratch = new ResourceSet();
  const { denseStates } = forward;
  const targets = denseStates && denseStates.nextBlock > block
    ? denseStates
    : scratch.add(await forward.denseOutputs(block));
  const meter = await BlockMeter.open(
    forward,
    block,
    task.fitted,
    (observer) => targets.visitOutputs(() => {}, observer),
  );
  const pruned = withReplacements(weights, replaced);
  const { before, keptEpoch, tensors } = await train(task, targets, meter, pruned);
  const after = keptEpoch > 0 ? await meter.measureStored(withReplacements(pruned, tensors)) : before;
  const result = after < before
    ? { after, keptEpoch, tensors }
    : { after: before, keptEpoch: 0, tensors: new Map<string, HostTensor>() };
  for (const [name, tensor] of result.tensors) replaced.set(name, tensor);
  return { epochs, before, ...result, seconds: (performance.now() - started) / 1000 };
}

/** Trains for all epochs. Returns the parameters of the epoch with the least error, in the dtypes of the checkpoint. */
async function train(
  task: ReconstructionTask,
  targets: HiddenStates,
  meter: BlockMeter,
  pruned: TensorSource,
): Promise<Pick<ReconstructedBlock, "before" | "keptEpoch" | "tensors">> {
  const { forward: { backend, model: { spec } }, openBlock: { block, replaced }, epochs } = task;
  const { isTrained = (name) => replaced.has(name) } = task;
  using scratch = new ResourceSet();
  const trainer = scratch.add(
    await BlockTrainer.load(backend, spec, block, pruned, (name) => isTrained(`${name}.weight`)),
  );
  const before = await meter.measure(trainer.weights), tensors = new Map<string, HostTensor>();
  let least = before, keptEpoch = 0;
  for (let epoch = 1; epoch <= epochs; epoch++) {
    await trainEpoch(task, trainer, targets, epoch);
    const error = await meter.measure(trainer.weights);
    if (!(error < least)) continue;
    least = error;
    keptEpoch = epoch;
    trainer.remember();
  }
  if (keptEpoch > 0) {
    trainer.restore();
    for await (const [name, tensor] of trainer.tensors()) {
      tensors.set(name, convertReplacement(pruned, name, tensor));
    }
  }
  return { before, keptEpoch, tensors };
}

/** Runs the fitted windows through the block once, with a step of Adam after every {@link STEP_WINDOWS} windows. */
async function trainEpoch(
  { forward, openBlock: { block }, epochs, fitted, begin }: ReconstructionTask,
  trainer: BlockTrainer,
  targets: HiddenStates,
  epoch: number,
): Promise<void> {
  const { runner, tokens } = forward;
  const steps = Math.ceil(fitted / STEP_WINDOWS), wanted = targets.copies();
  let step = (epoch - 1) * steps;
  try {
    await forward.hiddenStates.visit(async (states, batch) => {
      const target = await wanted.next();
      if (target.done) return;
      for (const { share, endsStep, ...part } of divideIntoSteps(batch, fitted)) {
        const inputs = await runner.inputsOf(block, states, batch, part, "of a step");
        const outputs = runner.hiddenOf(target.value, part, "targets of a step");
        await trainer.addGradients(inputs, outputs, part.count, tokens, share);
        if (endsStep) trainer.update(learningRate(step++, epochs * steps));
      }
    }, begin());
  } finally {
    await wanted.return();
  }
}

/** Windows of a batch that belong to one step. */
interface StepPart extends BatchPart {
  /** The share of the windows of the step. */
  readonly share: number;
  /** Whether the step has no later windows. */
  readonly endsStep: boolean;
}

/** Divides the fitted windows of a batch into parts of steps. A step may begin in one batch and end in a later one. */
export function* divideIntoSteps({ first, count }: Batch, fitted: number): Generator<StepPart, void> {
  const end = Math.min(first + count, fitted);
  for (let at = first; at < end;) {
    const begin = at - at % STEP_WINDOWS, stepEnd = Math.min(begin + STEP_WINDOWS, fitted);
    const next = Math.min(stepEnd, end);
    yield {
      offset: at - first,
      count: next - at,
      share: (next - at) / (stepEnd - begin),
      endsStep: next === stepEnd,
    };
    at = next;
  }
}

/** Returns the learning rate of step `step`, counted from 0, of `steps`. */
function learningRate(step: number, steps: number): number {
  const falling = (1 + Math.cos(Math.PI * step / steps)) / 2;
  return LEARNING_RATE * (LAST_SHARE + (1 - LAST_SHARE) * falling);
}
