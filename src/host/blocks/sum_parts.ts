/**
 * The statistics of a block for a run whose windows are divided over several hosts. This host sums each part of its
 * windows on its own, and later adds the parts in order to the statistics of the windows before, which another host has
 * summed. With states of the dense model, it also sums the moments from which the targets of the layers follow.
 */

import { setImmediate } from "node:timers/promises";
import { firstItems } from "../../base/texts.ts";
import { tensorMismatch } from "../../layer/errors.ts";
import type { TensorSource } from "../../model/checkpoint/tensor_source.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { BlockPlan } from "../../prune/block_plan.ts";
import { readBackMatrix } from "../../prune/server_pruner.ts";
import { type GroupSums, RoundStatistics } from "../../prune/round_statistics.ts";
import { partSizes, type WindowKinds } from "../../prune/window_parts.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { BlockStep } from "../../protocol/resources/blocks.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import { encodeParts } from "../../tensor/safetensors/encode.ts";
import { asFloat32, type HostTensor } from "../../tensor/host_tensor.ts";
import { sameShape } from "../../tensor/dtype.ts";
import type { TensorInfo } from "../../tensor/safetensors/header.ts";
import { checkCheckpointTensors, MAX_BLOCK_HEADER_BYTES } from "./check_body.ts";
import type { LayerSums, States, StatesName, StoredSums, SumName } from "./states.ts";
import { statesNotFound, type StatesStore } from "./states_store.ts";
import { sumTargets } from "./sum_targets.ts";

/** The names of the sums over the fitted windows, and of the sums over the held-out windows. */
const SUM_NAMES = {
  fitted: { hessian: "hessian_upper", moments: "moments" },
  heldOut: { hessian: "validation_hessian_upper", moments: "validation_moments" },
} as const satisfies Record<keyof GroupSums, Record<string, SumName>>;

/** Returns an upper bound for the bytes of the sums of a block. */
export function countSumsBytes(
  spec: ModelSpec,
  block: number,
  windows: WindowKinds,
  hasTargets: boolean,
): number {
  const groups = spec.block(block).groups, parts = partSizes(windows).length;
  return groups.reduce((sum, [{ inFeatures, outFeatures }]) => {
    const moments = hasTargets ? 4 * inFeatures * Math.max(inFeatures, outFeatures) : 0;
    return sum + parts * (triangleBytes(inFeatures) + moments);
  }, 0);
}

function triangleBytes(n: number): number {
  return 4 * n * (n + 1) / 2;
}

/**
 * Runs the windows through the block, and returns the sums of the layers in `queries`. The states do not change.
 * @param source the weights of the block. The states of the dense model run through the weights of the model
 * @throws {RangeError} if layers with the same input ask for different token weights
 * @throws the reason of the signal, after the current batch
 */
export async function sumParts(
  { forward, windows, validationWindows }: States,
  { block, targets }: Extract<BlockStep, { kind: "collect" }>,
  queries: ReadonlyMap<string, LayerQuery>,
  source: TensorSource,
  signal: AbortSignal,
): Promise<StoredSums> {
  if (queries.size === 0) return { byteLength: 0, layers: new Map() };
  const { model, backend } = forward, [round] = new BlockPlan(model.spec, { layers: queries }).rounds(block);
  const sums = new Map(round.map(({ group, layers }) => {
    const parts = { hessian_upper: [], validation_hessian_upper: [], moments: [], validation_moments: [] };
    const weights = layers.map(({ name, linear }) =>
      [name, [linear.outFeatures, linear.inFeatures]] as const
    );
    const sum: LayerSums = { weights, parts, isTarget: false, tokens: { fitted: 0, heldOut: 0 } };
    return [group, sum];
  }));
  const onBatchDone = () => signal.throwIfAborted();
  const statistics = await RoundStatistics.accumulate(forward, round, block, source, onBatchDone, {
    windows,
    validationWindows,
    tokenWeightsOf: (name) => queries.get(name)?.token_weights,
    hasTargets: targets && forward.denseStates !== undefined,
    async onPart(group, kind, part) {
      const sum = sums.get(group)!, moments = part.moments(), names = SUM_NAMES[kind];
      sum.parts[names.hessian].push(await part.packedUpper());
      sum.tokens[kind] = part.tokens;
      if (!moments) return;
      sum.parts[names.moments].push(await readBackMatrix(backend, moments.matrix));
      sum.isTarget = moments.isTarget;
    },
  });
  statistics.destroy();
  const all = [...sums.values()].flatMap(({ parts }) => Object.values(parts).flat());
  return {
    byteLength: all.reduce((bytes, { data }) => bytes + data.byteLength, 0),
    layers: new Map(
      round.flatMap(({ group, layers }) => layers.map(({ name }) => [name, sums.get(group)!] as const)),
    ),
  };
}

/** A request for the sums of one layer. */
export interface SumsRequest {
  readonly source: AsyncIterable<Uint8Array>;
  readonly totalBytes: number;
  /** The name of the weight. */
  readonly layer: string;
  /** The store that has the states, and their name in it. */
  readonly store: StatesStore;
  readonly name: StatesName;
  /** Runs work on the device when no other solve runs. */
  runSolve<T>(work: () => Promise<T>): Promise<T>;
}

/**
 * Reads the sums of the windows before, closes the source, and adds the parts of the stored sums in order. If the body has
 * weights of layers, computes their targets from the moments.
 * @returns the parts of a safetensors file with the new sums, in which targets take the place of the moments
 * @throws {Refusal} `states_not_found` if the layer has no sums
 * @throws {SafetensorsError} {Refusal} if the body is invalid, and the errors of `StatesStore.reserve`
 * @throws the errors of `sumTargets`
 */
export async function addSums(
  states: States,
  { source, totalBytes, layer, store, name, runSolve }: SumsRequest,
): Promise<Uint8Array<ArrayBuffer>[]> {
  const sums = states.sums?.layers.get(layer);
  if (!sums) throw statesNotFound(name.name, "have no statistics of this layer");
  const { parts, isTarget } = sums, [[hessian], [moments]] = [parts.hessian_upper, parts.moments];
  const stream = await openSafetensors(source, { totalBytes, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  try {
    const weights = checkSums(stream.header.tensors, sums);
    const targetBytes = weights.reduce((sum, { shape: [rows, cols] }) => sum + 4 * rows * cols, 0);
    const ownBytes = hessian.data.byteLength + (moments?.data.byteLength ?? 0) + targetBytes;
    using _room = await store.reserve("the sums", totalBytes + 2 * ownBytes, { used: states });
    const tensors = await readTensors(stream), whole = await addParts(Object.fromEntries(tensors), sums);
    if (weights.length === 0) return encodeParts(whole);
    const given = new Map(weights.map(({ name }) => [name, tensors.get(name)!]));
    const targets = await runSolve(() =>
      sumTargets(states.forward.backend, given, Object.fromEntries(whole), isTarget)
    );
    for (const { moments } of Object.values(SUM_NAMES)) whole.delete(moments);
    return encodeParts([...whole, ...targets]);
  } finally {
    await stream.close();
  }
}

/** Checks the tensors of a body. Returns those that are weights. @throws {Refusal} `shape_mismatch`, naming the first that disagrees */
function checkSums(tensors: readonly TensorInfo[], { parts, weights }: LayerSums): readonly TensorInfo[] {
  const shapes = new Map(
    Object.values(SUM_NAMES).flatMap(({ hessian, moments }) => [
      [hessian as string, parts.hessian_upper[0].shape] as const,
      [moments as string, parts.moments[0]?.shape] as const,
    ]),
  );
  for (const { name, dtype, shape: given } of tensors) {
    const shape = shapes.get(name);
    if (!shape || dtype === "F32" && sameShape(given, shape)) continue;
    throw tensorMismatch(name, `F32 [${shape}]`, `${dtype} [${firstItems(given)}]`);
  }
  const others = tensors.filter(({ name }) => !shapes.get(name));
  checkCheckpointTensors(others, [], parts.moments.length > 0 ? weights : []);
  return others;
}

/** Adds the parts of `sums` in order to the sums of the windows before, which are changed. */
async function addParts(
  earlier: Readonly<Partial<Record<SumName, HostTensor>>>,
  { parts }: LayerSums,
): Promise<Map<SumName, HostTensor>> {
  const whole = new Map<SumName, HostTensor>();
  for (const kind of Object.values(SUM_NAMES).flatMap(({ hessian, moments }) => [hessian, moments])) {
    const sum = await addInOrder(earlier[kind], parts[kind]);
    if (sum) whole.set(kind, sum);
  }
  return whole;
}

/** The number of entries that are added at once. It takes a few milliseconds, after which other requests are served. */
const ADDED_ENTRIES = 2 ** 22;

/** Returns the sum of `earlier` and `parts`, which are added in order, or undefined if there is nothing to add. */
async function addInOrder(
  earlier: HostTensor | undefined,
  parts: readonly HostTensor[],
): Promise<HostTensor | undefined> {
  const [first, ...others] = earlier ? [earlier, ...parts] : parts;
  if (others.length === 0) return first;
  const sum = earlier ?? { ...first, data: first.data.slice() }, entries = asFloat32(sum.data);
  for (const addends of others.map(({ data }) => asFloat32(data))) {
    for (let start = 0; start < entries.length; start += ADDED_ENTRIES) {
      const end = Math.min(start + ADDED_ENTRIES, entries.length);
      for (let i = start; i < end; i++) entries[i] += addends[i];
      await setImmediate();
    }
  }
  return sum;
}
