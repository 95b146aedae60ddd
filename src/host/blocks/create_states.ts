/** Reads the body of `PUT /v1/states/{name}`, and computes the hidden states before the first block. */

import type { Backend } from "../../device/backend.ts";
import { messageOf } from "../../base/errors.ts";
import { firstItems } from "../../base/texts.ts";
import { TensorMismatchError } from "../../layer/errors.ts";
import { memorySource } from "../../model/checkpoint/tensor_source.ts";
import { embeddingTensors } from "../../model/families/check_tensors.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { Forward, type InitialStates } from "../../model/forward.ts";
import { countStatesBytes } from "../../model/hidden_states/hidden_states.ts";
import { planForward } from "../../model/plan_forward.ts";
import {
  HIDDEN_STATES,
  VALIDATION_HIDDEN_STATES,
  VALIDATION_WINDOWS,
  WINDOWS,
} from "../../protocol/block_names.ts";
import { MAX_TOKENS } from "../../protocol/limits.ts";
import { invalidParameter } from "../../protocol/refusal.ts";
import { partSizes } from "../../prune/window_parts.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import type { TensorInfo } from "../../tensor/safetensors/header.ts";
import { type Dtype, sameShape } from "../../tensor/dtype.ts";
import { asFloat32, type HostTensor } from "../../tensor/host_tensor.ts";
import { checkCheckpointTensors, MAX_BLOCK_HEADER_BYTES } from "./check_body.ts";
import { describeModel, readSpec } from "./read_spec.ts";
import type { States, StatesName } from "./states.ts";
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
 * @throws {SafetensorsError} {TensorMismatchError} if the body is invalid
 * @throws {Refusal} `invalid_parameter` if the configuration is missing or not supported
 * @throws {OutOfDeviceMemoryError} {DeviceLostError} and the errors of the source and of `StatesStore.reserve`
 */
export async function createStates(
  backend: Backend,
  { source, totalBytes }: StatesBody,
  { hasTargets, block, store, name }: StatesOptions,
): Promise<States> {
  const stream = await openSafetensors(source, { totalBytes, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  try {
    const { tensors: infos, metadata } = stream.header;
    const model = describeModel(metadata, infos), spec = readSpec(model);
    const form = formOf(infos, spec), [fitted, heldOut, tokens] = checkWindows(infos, form, spec);
    if (block > 0 && (!form.isStates || block >= spec.blockCount)) {
      const limit = form.isStates ? spec.blockCount : 1;
      throw invalidParameter(
        "block",
        `must be below ${limit} for a model of ${spec.blockCount} blocks and ${form.names[0]}, got ${block}`,
      );
    }
    const others = infos.filter(({ name }) => !form.names.includes(name));
    checkCheckpointTensors(others, form.isStates ? [] : embeddingTensors(spec));
    const count = fitted + heldOut, byteLength = countStatesBytes(spec, count, tokens) * (hasTargets ? 2 : 1);
    requirePlan(backend, spec, tokens);
    const needed = byteLength + totalBytes, subject = "the array of all hidden states with the body";
    using _room = await store.reserve(subject, needed, { replaced: name });
    const tensors = await readTensors(stream);
    const [windows, validationWindows] = form.names.map((name) => readWindows(tensors.get(name), name, spec));
    const forward = await Forward.begin(backend, { spec, weights: memorySource(tensors) }, [
      ...windows,
      ...validationWindows,
    ], {
      parts: partSizes({ windows, validationWindows }),
      hasDenseStream: hasTargets,
      hiddenStatesBytes: 0,
      initial: form.isStates ? initialStates(form.names.map((name) => tensors.get(name)), block) : undefined,
    });
    tensors.clear();
    const states = {
      forward,
      model,
      weights: tensors,
      windows,
      validationWindows,
      byteLength,
      nextBlock: block,
    };
    await store.add(name, states);
    return states;
  } finally {
    await stream.close();
  }
}

/** The tensors of the windows in a body: their token ids, or their hidden states before a block. */
interface WindowForm {
  readonly isStates: boolean;
  /** The names for the fitted windows and for those that are held out. */
  readonly names: readonly string[];
  readonly dtype: Dtype;
  /** The extents after those of the windows and the tokens. */
  readonly features: readonly number[];
}

function formOf(infos: readonly TensorInfo[], { hiddenSize }: ModelSpec): WindowForm {
  return infos.some(({ name }) => name === HIDDEN_STATES)
    ? {
      isStates: true,
      names: [HIDDEN_STATES, VALIDATION_HIDDEN_STATES],
      dtype: "F32",
      features: [hiddenSize],
    }
    : { isStates: false, names: [WINDOWS, VALIDATION_WINDOWS], dtype: "U32", features: [] };
}

/** Returns the number of fitted windows, of windows that are held out, and of tokens in each. */
function checkWindows(
  infos: readonly TensorInfo[],
  { names, dtype: wanted, features }: WindowForm,
  { maxTokens }: ModelSpec,
): [fitted: number, heldOut: number, tokens: number] {
  const [fitted, heldOut] = names.map((name) => infos.find((info) => info.name === name));
  const form = `${wanted} [${["windows", "tokens", ...features].join(", ")}]`;
  if (!fitted) throw new TensorMismatchError(names[0], form, "none");
  const tokens = fitted.shape[1], limit = Math.min(maxTokens, MAX_TOKENS);
  for (const { name, dtype, shape } of heldOut ? [fitted, heldOut] : [fitted]) {
    const [count, length, ...others] = shape;
    const isOfForm = dtype === wanted && sameShape(others, features) && count > 0 && length > 0;
    if (isOfForm && length === tokens && length <= limit && count * length <= MAX_TOKENS) continue;
    const rule = `${form} with at most ${limit} tokens in a window and ${MAX_TOKENS} tokens in all` +
      (name === names[0] ? "" : `, and with ${tokens} tokens in a window as ${names[0]}`);
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

/** Returns the rows of the tensor `name`, which has token ids. Windows whose hidden states are given have the ids 0. */
function readWindows(
  tensor: HostTensor | undefined,
  name: string,
  { vocabSize }: ModelSpec,
): Uint32Array[] {
  if (!tensor) return [];
  const { dtype, shape: [count, tokens], data } = tensor;
  if (dtype === "F32") return Array(count).fill(new Uint32Array(tokens));
  const ids = new Uint32Array(data.buffer);
  const unknown = ids.find((id) => id >= vocabSize);
  if (unknown !== undefined) {
    throw new TensorMismatchError(name, `token ids below ${vocabSize}`, String(unknown));
  }
  return Array.from({ length: count }, (_, i) => ids.subarray(i * tokens, (i + 1) * tokens));
}

/** Returns hidden states for a forward pass. @param tensors those of the fitted windows, and of those that are held out */
function initialStates(tensors: readonly (HostTensor | undefined)[], block: number): InitialStates {
  const [fitted, heldOut] = tensors, windows = fitted!.shape[0], length = fitted!.shape[1] * fitted!.shape[2];
  return {
    block,
    // No batch has windows of both kinds.
    read({ first, count }) {
      const [tensor, start] = first < windows ? [fitted!, first] : [heldOut!, first - windows];
      return Promise.resolve(asFloat32(tensor.data).slice(start * length, (start + count) * length));
    },
  };
}
