/** Reads the windows in a body of `PUT /v1/states/{name}`: their token ids, or their states before a block. */

import { firstItems } from "../../base/texts.ts";
import { tensorMismatch } from "../../layer/errors.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { countColumns } from "../../model/hidden_states/state_columns.ts";
import {
  HIDDEN_STATES,
  VALIDATION_HIDDEN_STATES,
  VALIDATION_WINDOWS,
  WINDOWS,
} from "../../protocol/blocks/block_names.ts";
import { MAX_TOKENS, MAX_WINDOWS } from "../../protocol/limits.ts";
import { sameShape } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { TensorInfo } from "../../tensor/safetensors/header.ts";

/** The windows of a body. */
export interface WindowsHeader {
  /** Whether the body has the states before a block. Otherwise it has token ids, and the tensors of the model before its first block. */
  readonly isStates: boolean;
  /** The numbers of fitted windows, of held-out windows, and of tokens in each window. */
  readonly extents: readonly [fitted: number, heldOut: number, tokens: number];
  /** The names of the tensors of the fitted and of the held-out windows. */
  readonly names: readonly [fitted: string, heldOut: string];
}

/** Checks the tensors of the windows. @throws {Refusal} `shape_mismatch`, naming the first that disagrees */
export function checkWindows(infos: readonly TensorInfo[], spec: ModelSpec): WindowsHeader {
  const isStates = infos.some(({ name }) => name === HIDDEN_STATES);
  const names = isStates
    ? [HIDDEN_STATES, VALIDATION_HIDDEN_STATES] as const
    : [WINDOWS, VALIDATION_WINDOWS] as const;
  const wanted = isStates ? "F32" : "U32", features = isStates ? [countColumns(spec)] : [];
  const [fitted, heldOut] = names.map((name) => infos.find((info) => info.name === name));
  const form = `${wanted} [${["windows", "tokens", ...features].join(", ")}]`;
  if (!fitted) throw tensorMismatch(names[0], form, "none");
  const tokens = fitted.shape[1], limit = Math.min(spec.maxTokens, MAX_TOKENS);
  for (const { name, dtype, shape } of heldOut ? [fitted, heldOut] : [fitted]) {
    const [count, length, ...others] = shape;
    const hasForm = dtype === wanted && sameShape(others, features) && count > 0 && length > 0;
    const isWithinLimits = length <= limit && count <= MAX_WINDOWS && count * length <= MAX_TOKENS;
    if (hasForm && length === tokens && isWithinLimits) continue;
    const rule =
      `${form} with at most ${MAX_WINDOWS} windows, ${limit} tokens in a window and ${MAX_TOKENS} tokens in all` +
      (name === names[0] ? "" : `, and with ${tokens} tokens in a window as ${names[0]}`);
    throw tensorMismatch(name, rule, `${dtype} [${firstItems(shape)}]`);
  }
  return { isStates, names, extents: [fitted.shape[0], heldOut?.shape[0] ?? 0, tokens] };
}

/**
 * Returns the token ids of all windows, the fitted windows first.
 * @throws {Refusal} `shape_mismatch` if an id is not in the vocabulary
 */
export function readWindows(
  tensors: ReadonlyMap<string, HostTensor>,
  { names, extents: [, , tokens] }: WindowsHeader,
  { vocabSize }: ModelSpec,
): Uint32Array[] {
  return names.flatMap((name) => {
    const tensor = tensors.get(name);
    // The tensor was read into a buffer of its own.
    const flat = new Uint32Array(tensor?.data.buffer ?? new ArrayBuffer(0)),
      unknown = flat.find((id) => id >= vocabSize);
    if (unknown !== undefined) {
      throw tensorMismatch(name, `token ids below ${vocabSize}`, String(unknown));
    }
    return Array.from(
      { length: flat.length / tokens },
      (_, w) => flat.subarray(w * tokens, (w + 1) * tokens),
    );
  });
}
