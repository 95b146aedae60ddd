/** Reads the body of `PUT /v1/states/{name}`, and computes the hidden states before the first block. */

import type { Backend } from "../../device/backend.ts";
import { messageOf } from "../../base/errors.ts";
import { tensorMismatch } from "../../layer/errors.ts";
import { memorySource } from "../../model/checkpoint/tensor_source.ts";
import { Embedding } from "../../model/embedding.ts";
import { embeddingTensors } from "../../model/families/check_tensors.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { Forward } from "../../model/forward.ts";
import { embeddedStates, type InitialStates } from "../../model/initial_states.ts";
import { planForward } from "../../model/plan_forward.ts";
import { HIDDEN_STATES, VALIDATION_HIDDEN_STATES, WINDOWS } from "../../protocol/blocks/block_names.ts";
import { invalidParameter } from "../../protocol/refusal.ts";
import { partSizes } from "../../prune/window_parts.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import { asFloat32, type HostTensor } from "../../tensor/host_tensor.ts";
import type { TensorInfo } from "../../tensor/safetensors/header.ts";
import { checkCheckpointTensors } from "./check_body.ts";
import { readModel } from "./read_spec.ts";
import { checkWindows, readWindows, type WindowsHeader } from "./read_windows.ts";
import { blankWindows, countDataBytes, countObjectBytes, type States, type StatesName } from "./states.ts";
import type { StatesStore } from "./states_store.ts";

export interface StatesBody {
  readonly source: AsyncIterable<Uint8Array>;
  readonly totalBytes: number;
}

export interface StatesOptions {
  /** Whether the states of the dense model are stored too. */
  readonly hasTargets: boolean;
  /** The block whose inputs the states in the body are. */
  readonly block: number;
  /** The store that gets the states, and their name in it. */
  readonly store: StatesStore;
  readonly name: StatesName;
}

/**
 * Reads the body, closes its source, and stores the states. If it throws, nothing stays allocated.
 * @throws {SafetensorsError} {Refusal} if the body is invalid
 * @throws {Refusal} `invalid_parameter` if the configuration is missing or not supported
 * @throws {OutOfDeviceMemoryError} {DeviceLostError} and the errors of the source and of `StatesStore.reserve`
 */
export async function createStates(
  backend: Backend,
  { source, totalBytes }: StatesBody,
  { hasTargets, block, store, name }: StatesOptions,
): Promise<States> {
  const stream = await openSafetensors(source, { totalBytes });
  try {
    const { tensors: infos, metadata } = stream.header;
    const { model, spec } = readModel(metadata, infos);
    const header = checkWindows(infos, spec),
      { isStates, names, extents: [fitted, heldOut, tokens] } = header;
    if (block > 0 && (!isStates || block >= spec.blockCount)) {
      const limit = isStates ? spec.blockCount : 1;
      throw invalidParameter(
        "block",
        `must be below ${limit} for a model of ${spec.blockCount} blocks and ${names[0]}, got ${block}`,
      );
    }
    const others = infos.filter(({ name }) => !names.includes(name));
    const table = withSentRows(spec, infos), windowCount = fitted + heldOut;
    checkCheckpointTensors(others, isStates ? [] : embeddingTensors(table));
    const byteLength = countDataBytes(spec, { windows: windowCount, tokens, hasTargets }) +
      countObjectBytes(model, windowCount);
    requirePlan(backend, spec, tokens);
    const needed = byteLength + totalBytes, subject = "the array of all hidden states with the body";
    using _room = await store.reserve(subject, needed, { replaced: name });
    const tensors = await readTensors(stream);
    const blank = blankWindows(fitted, heldOut, tokens), weights = memorySource(tensors);
    const all = isStates ? Object.values(blank).flat() : readWindows(tensors, header, table);
    const forward = await Forward.begin(backend, { spec, weights }, all, {
      parts: partSizes(blank),
      hasDenseStream: hasTargets,
      hiddenStatesBytes: 0,
      initial: isStates
        ? givenStates(tensors, header, block)
        : embeddedStates(spec, await Embedding.open(backend, { spec: table, weights }, 0), all),
    });
    tensors.clear();
    const states = {
      ...{ forward, model, weights: tensors, ...blank, byteLength },
      nextBlock: block,
    };
    await store.add(name, states);
    return states;
  } finally {
    await stream.close();
  }
}

/** Refuses windows whose activations do not fit in a buffer of the device. */
function requirePlan(backend: Backend, spec: ModelSpec, tokens: number): void {
  try {
    planForward(backend, spec, 1, tokens);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw tensorMismatch(WINDOWS, "windows that fit in a buffer of the device", messageOf(error));
  }
}

/** Returns `spec` with the number of rows that the table of tokens has in the body, which may be below the vocabulary. */
function withSentRows(spec: ModelSpec, infos: readonly TensorInfo[]): ModelSpec {
  const table = infos.find(({ name }) => name === spec.embedding.tokens);
  return { ...spec, vocabSize: Math.min(table?.shape[0] ?? Infinity, spec.vocabSize) };
}

/** Returns the states in a body for a forward pass. */
function givenStates(
  tensors: ReadonlyMap<string, HostTensor>,
  { extents: [windows] }: WindowsHeader,
  block: number,
): InitialStates {
  return {
    block,
    // No batch has windows of both kinds.
    read({ first, count }) {
      const [name, start] = first < windows
        ? [HIDDEN_STATES, first]
        : [VALIDATION_HIDDEN_STATES, first - windows];
      const { shape: [, tokens, columns], data } = tensors.get(name)!, length = tokens * columns;
      return Promise.resolve(asFloat32(data).slice(start * length, (start + count) * length));
    },
  };
}
