/** The hidden states of a model whose blocks a host runs, and the data that is stored with them. */

import type { ModelSpec } from "../../model/families/family.ts";
import type { Forward } from "../../model/forward.ts";
import type { NamedShape } from "../../model/families/check_tensors.ts";
import { countStatesBytes } from "../../model/hidden_states/hidden_states.ts";
import type { Digest } from "../../protocol/digest.ts";
import type { StoredStates } from "../../protocol/messages.ts";
import type { GroupSums } from "../../prune/round_statistics.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { ModelDescription } from "./read_spec.ts";

/** The owner of the states of tasks. No request of a client has it: an API key is a digest, and without keys the owner is "". */
export const TASK_OWNER = "edge";

/** The name of states, and its owner: the digest of an API key, "" if the host has no keys, or {@link TASK_OWNER}. */
export interface StatesName {
  readonly owner: string;
  readonly name: string;
}

/** The answer to a request, for a client that repeats the request. */
export interface StoredAnswer {
  readonly block: number;
  /** The digest of the request. */
  readonly request: Digest;
  readonly parts: readonly Uint8Array<ArrayBuffer>[];
}

/** The name of a sum in the body of a request. */
export type SumName = `${"" | "validation_"}${"hessian_upper" | "moments"}`;

/** The sums of one layer, or of several with the same input, for fitted and for held-out windows. */
export interface LayerSums {
  /** The names of the weights of the layers, with their shapes [outFeatures, inFeatures]. */
  readonly weights: readonly NamedShape[];
  /** The sums of the parts in order, in the form of `POST /v1/states/{name}/sums`. Empty if there are none of this name. */
  readonly parts: Readonly<Record<SumName, HostTensor[]>>;
  /** Whether the moments are the target of the only layer. */
  isTarget: boolean;
  /** The numbers of tokens in the sums of all parts. */
  readonly tokens: Record<keyof GroupSums, number>;
}

/** The statistics of the layers of a block. */
export interface StoredSums {
  readonly byteLength: number;
  /** The sums by the names of the weights. */
  readonly layers: ReadonlyMap<string, LayerSums>;
}

export interface States {
  /** The forward pass over all windows. Its model reads the weights of a block from `weights`. */
  readonly forward: Forward;
  readonly model: ModelDescription;
  readonly weights: Map<string, HostTensor>;
  /** The fitted windows and the held-out windows (`blankWindows`). */
  readonly windows: readonly Uint32Array[];
  readonly validationWindows: readonly Uint32Array[];
  /** The host memory of the states: `countDataBytes` and `countObjectBytes`. */
  readonly byteLength: number;
  /** The block that may be pruned next. Behind the last one, it is the number of blocks. */
  nextBlock: number;
  /** The answer for the block pruned last. It is dropped if its memory is needed. */
  answer?: StoredAnswer;
  /** The statistics of the block that runs next, for a run on several hosts. */
  sums?: StoredSums;
}

/** The numbers of windows and of tokens in a window. */
interface StatesExtents {
  readonly windows: number;
  readonly tokens: number;
  readonly hasTargets: boolean;
}

/** Returns the bytes of the hidden states of both streams. */
export function countDataBytes(spec: ModelSpec, { windows, tokens, hasTargets }: StatesExtents): number {
  return countStatesBytes(spec, windows, tokens) * (hasTargets ? 2 : 1);
}

/** Returns the bytes of the hidden states, as {@link countDataBytes} counts them. */
export function dataBytesOf({ forward, windows, validationWindows }: States): number {
  const { tokens, denseStates, model: { spec } } = forward;
  const count = windows.length + validationWindows.length, hasTargets = denseStates !== undefined;
  return countDataBytes(spec, { windows: count, tokens, hasTargets });
}

/** Returns windows whose token ids are 0. Once the windows are embedded, only their number and length matter. */
export function blankWindows(fitted: number, heldOut: number, tokens: number) {
  const window = new Uint32Array(tokens), fill = (count: number) => Array<Uint32Array>(count).fill(window);
  return { windows: fill(fitted), validationWindows: fill(heldOut) };
}

/** The bytes of a window in the lists, and the bytes that one character of a description takes: its text, and the lists that are parsed from it. */
const WINDOW_BYTES = 64, CHARACTER_BYTES = 10;

/** Returns the bytes of the lists of windows, and of the description of the model. */
export function countObjectBytes({ config, names }: ModelDescription, windows: number): number {
  const characters = names.reduce((sum, { length }) => sum + length, config.length);
  return windows * WINDOW_BYTES + CHARACTER_BYTES * characters;
}

export function describeStates({ forward, nextBlock, windows, validationWindows }: States): StoredStates {
  return {
    next_block: nextBlock,
    windows: windows.length + validationWindows.length,
    tokens: forward.tokens,
  };
}

/** The number of names of one API key. */
export const MAX_NAMES = 64;
