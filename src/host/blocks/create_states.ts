/** Reads the body of `PUT /v1/states/{name}`, and computes the hidden states before the first block. */

import type { Backend } from "../../device/backend.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { messageOf } from "../../base/errors.ts";
import { firstItems, tryParseJson } from "../../base/texts.ts";
import { TensorMismatchError } from "../../layer/errors.ts";
import { memorySource } from "../../model/checkpoint/tensor_source.ts";
import { embeddingTensors } from "../../model/families/check_tensors.ts";
import { readModelSpec } from "../../model/families/families.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { Forward } from "../../model/forward.ts";
import { countStatesBytes } from "../../model/hidden_states/hidden_states.ts";
import { planForward } from "../../model/plan_forward.ts";
import { VALIDATION_WINDOWS, WINDOWS } from "../../protocol/block_names.ts";
import { MAX_MODEL_LAYERS, MAX_TOKENS } from "../../protocol/limits.ts";
import { invalidParameter, type Refusal } from "../../protocol/refusal.ts";
import { partSizes } from "../../prune/window_parts.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import type { TensorInfo } from "../../tensor/safetensors/header.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { checkCheckpointTensors, MAX_BLOCK_HEADER_BYTES } from "./check_body.ts";
import type { States, StatesName, StatesStore } from "./states_store.ts";

export interface StatesBody {
  readonly source: AsyncIterable<Uint8Array>;
  readonly totalBytes: number;
}

export interface StatesOptions {
  /** Whether the states of the dense model are stored too. */
  readonly hasTargets: boolean;
  /** The store that gets the states, and their name in it. */
  readonly store: StatesStore;
  readonly name: StatesName;
}

/**
 * Reads the body, closes its source, and stores the states. If it throws, nothing stays allocated.
 * @throws {SafetensorsError} {TensorMismatchError} if the body is invalid
 * @throws {Refusal} `invalid_parameter` if the configuration is missing or not supported
 * @throws {OutOfDeviceMemoryError} {DeviceLostError} and the errors of the source and of `StatesStore.reserve`
 */
export async function createStates(
  backend: Backend,
  { source, totalBytes }: StatesBody,
  { hasTargets, store, name }: StatesOptions,
): Promise<States> {
  const stream = await openSafetensors(source, { totalBytes, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  try {
    const { tensors: infos, metadata } = stream.header;
    const spec = readSpec(metadata, infos);
    const [fitted, heldOut, tokens] = checkWindows(infos, spec);
    const others = infos.filter(({ name }) => name !== WINDOWS && name !== VALIDATION_WINDOWS);
    checkCheckpointTensors(others, embeddingTensors(spec));
    const count = fitted + heldOut, byteLength = countStatesBytes(spec, count, tokens) * (hasTargets ? 2 : 1);
    requirePlan(backend, spec, tokens);
    using _room = store.reserve("the array of all hidden states with the body", byteLength + totalBytes, {
      replaced: name,
    });
    const tensors = await readTensors(stream);
    const windows = readWindows(tensors, WINDOWS, spec);
    const validationWindows = readWindows(tensors, VALIDATION_WINDOWS, spec);
    const forward = await Forward.begin(backend, { spec, weights: memorySource(tensors) }, [
      ...windows,
      ...validationWindows,
    ], {
      parts: partSizes({ windows, validationWindows }),
      hasDenseStream: hasTargets,
      hiddenStatesBytes: 0,
    });
    tensors.clear();
    const states = { forward, weights: tensors, windows, validationWindows, byteLength, nextBlock: 0 };
    store.add(name, states);
    return states;
  } finally {
    await stream.close();
  }
}

/** Reads the configuration. The names of the tensors, also of those in the first block, decide between variants of a family. */
function readSpec(
  { config: json, names: block }: Readonly<Record<string, string>>,
  tensors: readonly TensorInfo[],
): ModelSpec {
  if (json === undefined) throw invalidConfig("is missing in the metadata of the body");
  const names = new Set([...tensors.map(({ name }) => name), ...readNames(block)]);
  let spec: ModelSpec;
  try {
    const config = JSON.parse(json);
    if (typeof config !== "object" || config === null) throw new ModelError("is not an object");
    spec = readModelSpec(config, (name) => names.has(name));
  } catch (error) {
    if (error instanceof ModelError || error instanceof SyntaxError) throw invalidConfig(messageOf(error));
    throw error;
  }
  let layers = 0;
  for (let index = 0; index < spec.blockCount; index++) {
    layers += spec.block(index).groups.flat().length;
    if (layers <= MAX_MODEL_LAYERS) continue;
    throw invalidConfig(`describes more than ${MAX_MODEL_LAYERS} linear layers, which is the limit`);
  }
  return spec;
}

/** Reads the list of names in the metadata, which may be missing. */
function readNames(json = "[]"): readonly unknown[] {
  const names = tryParseJson(json);
  if (Array.isArray(names)) return names;
  throw invalidParameter("names", "is not a list as JSON in the metadata of the body");
}

function invalidConfig(detail: string): Refusal {
  return invalidParameter("config", detail);
}

/** Returns the number of fitted windows, of windows that are held out, and of tokens in each. */
function checkWindows(
  infos: readonly TensorInfo[],
  { maxTokens }: ModelSpec,
): [fitted: number, heldOut: number, tokens: number] {
  const fitted = infos.find(({ name }) => name === WINDOWS);
  const heldOut = infos.find(({ name }) => name === VALIDATION_WINDOWS);
  if (!fitted) throw new TensorMismatchError(WINDOWS, "U32 [windows, tokens]", "none");
  const tokens = fitted.shape[1], limit = Math.min(maxTokens, MAX_TOKENS);
  for (const { name, dtype, shape } of heldOut ? [fitted, heldOut] : [fitted]) {
    const [count, length] = shape;
    const isMatrix = dtype === "U32" && shape.length === 2 && count > 0 && length > 0;
    if (isMatrix && length === tokens && length <= limit && count * length <= MAX_TOKENS) continue;
    const rule =
      `U32 [windows, tokens] with at most ${limit} tokens in a window and ${MAX_TOKENS} tokens in all` +
      (name === WINDOWS ? "" : `, and with ${tokens} tokens in a window as ${WINDOWS}`);
    throw new TensorMismatchError(name, rule, `${dtype} [${firstItems(shape)}]`);
  }
  return [fitted.shape[0], heldOut?.shape[0] ?? 0, tokens];
}

/** Refuses windows whose activations do not fit in a buffer of the device. */
function requirePlan(backend: Backend, spec: ModelSpec, tokens: number): void {
  try {
    planForward(backend, spec, 1, tokens);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new TensorMismatchError(WINDOWS, "windows that fit in a buffer of the device", messageOf(error));
  }
}

/** Returns the rows of the tensor `name` of token ids. There are none without a tensor. */
function readWindows(
  tensors: ReadonlyMap<string, HostTensor>,
  name: string,
  { vocabSize }: ModelSpec,
): Uint32Array[] {
  const tensor = tensors.get(name);
  if (!tensor) return [];
  const { shape: [count, tokens], data } = tensor, ids = new Uint32Array(data.buffer);
  const unknown = ids.find((id) => id >= vocabSize);
  if (unknown !== undefined) {
    throw new TensorMismatchError(name, `token ids below ${vocabSize}`, String(unknown));
  }
  return Array.from({ length: count }, (_, i) => ids.subarray(i * tokens, (i + 1) * tokens));
}
