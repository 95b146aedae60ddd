/** Reads the windows in a body of `PUT /v1/states/{name}`: their token ids, or their states before a block, or both. */

import { firstItems } from "../../base/texts.ts";
import { TensorMismatchError } from "../../layer/errors.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { countColumns } from "../../model/hidden_states/state_columns.ts";
import {
  HIDDEN_STATES,
  TOKEN_IDS,
  VALIDATION_HIDDEN_STATES,
  VALIDATION_WINDOWS,
  WINDOWS,
} from "../../protocol/block_names.ts";
import { MAX_TOKEN_IDS, MAX_TOKENS, MAX_WINDOWS } from "../../protocol/limits.ts";
import { type Dtype, sameShape } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { TensorInfo } from "../../tensor/safetensors/header.ts";

/** The tensors of windows, first of the fitted ones, and then of those that are held out. */
interface WindowForm {
  readonly names: readonly [fitted: string, heldOut: string];
  readonly dtype: Dtype;
  /** The extents after those of the windows and the tokens. */
  readonly features: readonly number[];
}

const IDS_FORM: WindowForm = { names: [WINDOWS, VALIDATION_WINDOWS], dtype: "U32", features: [] };

/** The numbers of fitted windows, of windows that are held out, and of tokens in each. */
type Extents = readonly [fitted: number, heldOut: number, tokens: number];

/** The windows of a body. */
export interface WindowsHeader {
  /** Whether the body has the states before a block. */
  readonly isStates: boolean;
  /** Whether the body has token ids, and the tensors of the model before its first block. */
  readonly hasTokens: boolean;
  readonly extents: Extents;
  /** The number of token ids whose rows the tables of tokens have, or undefined if they have all rows. */
  readonly ids?: number;
  /** The names of the tensors of windows and of `token_ids`. */
  readonly names: readonly string[];
}

/** Checks the tensors of the windows. @throws {TensorMismatchError} naming the first that disagrees */
export function checkWindows(infos: readonly TensorInfo[], spec: ModelSpec): WindowsHeader {
  const isStates = infos.some(({ name }) => name === HIDDEN_STATES);
  const hasTokens = !isStates || spec.tokenInputs !== undefined;
  const states = { ...statesForm(spec), isGiven: isStates }, tokens = { ...IDS_FORM, isGiven: hasTokens };
  const forms: readonly WindowForm[] = [states, tokens].filter(({ isGiven }) => isGiven);
  const [extents, ...others] = forms.map((form) => checkForm(infos, form, spec));
  for (const other of others) {
    if (sameShape(other, extents)) continue;
    const texts = [extents, other].map(([fitted, heldOut, tokens]) =>
      `${fitted} windows and ${heldOut} held-out windows of ${tokens} tokens`
    );
    throw new TensorMismatchError(WINDOWS, `the token ids of ${HIDDEN_STATES}, ${texts[0]}`, texts[1]);
  }
  const names = [...forms.flatMap(({ names }) => names), ...hasTokens ? [TOKEN_IDS] : []];
  return { isStates, hasTokens, extents, names, ids: hasTokens ? checkIds(infos, spec) : undefined };
}

function statesForm(spec: ModelSpec): WindowForm {
  return { names: [HIDDEN_STATES, VALIDATION_HIDDEN_STATES], dtype: "F32", features: [countColumns(spec)] };
}

function checkForm(
  infos: readonly TensorInfo[],
  { names, dtype: wanted, features }: WindowForm,
  { maxTokens }: ModelSpec,
): Extents {
  const [fitted, heldOut] = names.map((name) => infos.find((info) => info.name === name));
  const form = `${wanted} [${["windows", "tokens", ...features].join(", ")}]`;
  if (!fitted) throw new TensorMismatchError(names[0], form, "none");
  const tokens = fitted.shape[1], limit = Math.min(maxTokens, MAX_TOKENS);
  for (const { name, dtype, shape } of heldOut ? [fitted, heldOut] : [fitted]) {
    const [count, length, ...others] = shape;
    const isOfForm = dtype === wanted && sameShape(others, features) && count > 0 && length > 0;
    const isShort = length <= limit && count <= MAX_WINDOWS && count * length <= MAX_TOKENS;
    if (isOfForm && length === tokens && isShort) continue;
    const rule =
      `${form} with at most ${MAX_WINDOWS} windows, ${limit} tokens in a window and ${MAX_TOKENS} tokens in all` +
      (name === names[0] ? "" : `, and with ${tokens} tokens in a window as ${names[0]}`);
    throw new TensorMismatchError(name, rule, `${dtype} [${firstItems(shape)}]`);
  }
  return [fitted.shape[0], heldOut?.shape[0] ?? 0, tokens];
}

/** Returns the number of ids in `token_ids`, or undefined if there is no such tensor. A model with `tokenInputs` needs it. */
function checkIds(infos: readonly TensorInfo[], { vocabSize, tokenInputs }: ModelSpec): number | undefined {
  const given = infos.find(({ name }) => name === TOKEN_IDS);
  if (!given && !tokenInputs) return undefined;
  const { dtype, shape } = given ?? { dtype: "none", shape: [] }, [count] = shape;
  const limit = Math.min(vocabSize, MAX_TOKEN_IDS);
  if (dtype === "U32" && shape.length === 1 && count > 0 && count <= limit) return count;
  const rule = `U32 [ids] with at most ${limit} token ids`;
  throw new TensorMismatchError(TOKEN_IDS, rule, given ? `${dtype} [${firstItems(shape)}]` : "none");
}

/** The windows of a body whose data was read. */
export interface WindowIds {
  readonly windows: readonly Uint32Array[];
  readonly validationWindows: readonly Uint32Array[];
  /** The ids of the rows of the tables of tokens, or undefined if they have all rows. */
  readonly ids?: Uint32Array<ArrayBuffer>;
  /** The row of each id in these tables, or -1 if it has none. Undefined if they have all rows. */
  readonly rowOf?: Int32Array;
}

/**
 * Returns the token ids of the windows. Without token ids in the body, they are 0.
 * @throws {TensorMismatchError} if an id is not in the vocabulary, or has no row in the tables of tokens
 */
export function readWindows(
  tensors: ReadonlyMap<string, HostTensor>,
  { hasTokens, extents: [fitted, heldOut, tokens] }: WindowsHeader,
  { vocabSize }: ModelSpec,
): WindowIds {
  if (!hasTokens) {
    const [windows, validationWindows] = [fitted, heldOut].map((count) =>
      Array<Uint32Array>(count).fill(new Uint32Array(tokens))
    );
    return { windows, validationWindows };
  }
  const given = tensors.get(TOKEN_IDS), ids = given && idsIn(given), rowOf = ids && rowsById(ids, vocabSize);
  const [windows, validationWindows] = IDS_FORM.names.map((name) => {
    const tensor = tensors.get(name);
    if (!tensor) return [];
    const flat = idsIn(tensor);
    if (rowOf) requireIds(name, flat, (id) => rowOf[id] >= 0, `token ids that ${TOKEN_IDS} has`);
    else requireIds(name, flat, (id) => id < vocabSize, `token ids below ${vocabSize}`);
    return Array.from({ length: tensor.shape[0] }, (_, i) => flat.subarray(i * tokens, (i + 1) * tokens));
  });
  return { windows, validationWindows, ids, rowOf };
}

/** Returns the index of each id in `ids`, and -1 for all others. With the most tokens and ids, a `Map` takes ten times as long. */
function rowsById(ids: Uint32Array, vocabSize: number): Int32Array {
  const limit = Math.min(vocabSize, MAX_TOKEN_IDS), rowOf = new Int32Array(limit).fill(-1);
  requireIds(TOKEN_IDS, ids, (id) => id < limit, `token ids below ${limit}`);
  for (const [row, id] of ids.entries()) rowOf[id] = row;
  const repeated = ids.filter((id, row) => rowOf[id] !== row).length;
  if (repeated === 0) return rowOf;
  throw new TensorMismatchError(TOKEN_IDS, "distinct token ids", `${repeated} repeated ones`);
}

/** Returns the data of a tensor that was read into a buffer of its own. */
function idsIn({ data }: HostTensor): Uint32Array<ArrayBuffer> {
  return new Uint32Array(data.buffer);
}

function requireIds(name: string, ids: Uint32Array, isValid: (id: number) => boolean, rule: string): void {
  const unknown = ids.find((id) => !isValid(id));
  if (unknown !== undefined) throw new TensorMismatchError(name, rule, String(unknown));
}
