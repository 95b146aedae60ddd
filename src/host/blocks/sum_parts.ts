/**
 * The statistics of a block for a run whose windows are divided over several hosts. This host sums each part of its
 * windows on its own, and later adds the parts in order to the statistics of the windows before, which another host has
 * summed.
 */

import { setImmediate } from "node:timers/promises";
import { firstItems } from "../../base/texts.ts";
import { encodeParts, type PackedStatistics } from "../../client/layer_file.ts";
import { TensorMismatchError } from "../../layer/errors.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { BlockPlan } from "../../prune/block_plan.ts";
import { RoundStatistics } from "../../prune/round_statistics.ts";
import { partSizes, type WindowKinds } from "../../prune/window_parts.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import { asFloat32, type HostTensor } from "../../tensor/host_tensor.ts";
import { sameShape } from "../../tensor/dtype.ts";
import type { LayerSums, States, StatesName, StoredSums } from "./states.ts";
import { StatesNotFoundError, type StatesStore } from "./states_store.ts";

/** Returns an upper bound for the bytes of the sums of a block. */
export function countSumsBytes(spec: ModelSpec, block: number, windows: WindowKinds): number {
  const groups = spec.block(block).groups, parts = partSizes(windows).length;
  return groups.reduce((sum, [{ inFeatures }]) => sum + parts * triangleBytes(inFeatures), 0);
}

function triangleBytes(n: number): number {
  return 4 * n * (n + 1) / 2;
}

/**
 * Runs the windows through the block, and returns the sums of the layers in `queries`. The states do not change.
 * @throws {RangeError} if layers with the same input ask for different token weights
 * @throws the reason of the signal, after the current batch
 */
export async function sumParts(
  { forward, windows, validationWindows }: States,
  block: number,
  queries: ReadonlyMap<string, LayerQuery>,
  signal: AbortSignal,
): Promise<StoredSums> {
  if (queries.size === 0) return { byteLength: 0, layers: new Map() };
  const { model } = forward, [round] = new BlockPlan(model.spec, { layers: queries }).rounds(block);
  const sums = new Map(round.map(({ group }) => {
    const sum: LayerSums = { parts: { fitted: [], heldOut: [] }, tokens: { fitted: 0, heldOut: 0 } };
    return [group, sum];
  }));
  const onBatchDone = () => signal.throwIfAborted();
  const statistics = await RoundStatistics.accumulate(forward, round, block, model.weights, onBatchDone, {
    windows,
    validationWindows,
    tokenWeightsOf: (name) => queries.get(name)?.token_weights,
    async onPart(group, kind, part) {
      const { parts, tokens } = sums.get(group)!;
      parts[kind].push(await part.packedUpper());
      tokens[kind] = part.tokens;
    },
  });
  statistics.destroy();
  const all = [...sums.values()].flatMap(({ parts }) => [...parts.fitted, ...parts.heldOut]);
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
}

/** The most bytes of the header of a body with two sums. */
const MAX_SUMS_HEADER_BYTES = 2 ** 12;

/**
 * Reads the sums of the windows before, closes the source, and adds the parts of the stored sums in order.
 * @returns the parts of a safetensors file with the new sums
 * @throws {StatesNotFoundError} if the layer has no sums
 * @throws {SafetensorsError} {TensorMismatchError} if the body is invalid, and the errors of `StatesStore.reserve`
 */
export async function addSums(
  states: States,
  { source, totalBytes, layer, store, name }: SumsRequest,
): Promise<Uint8Array<ArrayBuffer>[]> {
  const sums = states.sums?.layers.get(layer);
  if (!sums) throw new StatesNotFoundError(name.name, "have no statistics of this layer");
  const [{ shape, data }] = sums.parts.fitted;
  using _room = await store.reserve("the sums", totalBytes + 2 * data.byteLength, { used: states });
  const stream = await openSafetensors(source, { totalBytes, maxHeaderBytes: MAX_SUMS_HEADER_BYTES });
  let earlier: Map<keyof PackedStatistics, HostTensor>;
  try {
    for (const { name, dtype, shape: given } of stream.header.tensors) {
      const isSum = name === "hessian_upper" || name === "validation_hessian_upper";
      if (isSum && dtype === "F32" && sameShape(given, shape)) continue;
      const expected = isSum ? `F32 [${shape}]` : "no tensor of this name";
      throw new TensorMismatchError(name, expected, `${dtype} [${firstItems(given)}]`);
    }
    earlier = await readTensors(stream) as typeof earlier;
  } finally {
    await stream.close();
  }
  return encodeParts(await addParts(Object.fromEntries(earlier), sums));
}

/** Adds the parts of `sums` in order to the statistics of the windows before, which are changed. */
export async function addParts(
  { hessian_upper, validation_hessian_upper }: PackedStatistics,
  { parts: { fitted, heldOut } }: LayerSums,
): Promise<PackedStatistics> {
  return {
    hessian_upper: await addInOrder(hessian_upper, fitted),
    validation_hessian_upper: await addInOrder(validation_hessian_upper, heldOut),
  };
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
