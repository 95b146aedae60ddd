/** Plans a forward pass: its batches, and where its hidden states are stored. */

import type { Backend } from "../device/backend.ts";
import { type Batch, evenBatches, largestBatch } from "./batches.ts";
import type { ModelSpec } from "./families/family.ts";
import { choosePlace, countStatesBytes, type HiddenStatesLocation } from "./hidden_states/hidden_states.ts";
import type { Place } from "./hidden_states/hidden_states_store.ts";

/** The device memory that a forward pass may use in addition to the weights of a block. */
export interface ForwardMemory {
  /** Bytes for the activations of one batch. Defaults to {@link ACTIVATION_BYTES}, because larger batches are hardly faster. */
  readonly activationBytes?: number;
  /**
   * Bytes for the hidden states of all windows. Hidden states that need more are stored in the CPU's memory or on disk. Defaults to 1 GiB.
   */
  readonly hiddenStatesBytes?: number;
}

/** The memory and the parts that limit the batches of a forward pass. */
export interface ForwardDivision extends ForwardMemory {
  /** The numbers of windows of consecutive parts. No batch has windows of two parts. @default one part with all windows */
  readonly parts?: readonly number[];
}

/** On a GPU a batch must be large enough to keep all processors busy. On a CPU batches of half the size take 4 % more time, and save much memory. */
const ACTIVATION_BYTES: Readonly<Record<Backend["kind"], number>> = { cpu: 32 << 20, webgpu: 256 << 20 };
export const HIDDEN_STATES_BYTES = 1 << 30;

/** How a forward pass divides its windows, and where it stores their hidden states. */
export interface ForwardPlan {
  readonly batches: readonly Batch[];
  /** The bytes of the hidden states of all windows. */
  readonly statesBytes: number;
  readonly place: Place;
}

/**
 * Plans a forward pass over `windows` windows of `tokens` tokens.
 * @throws {RangeError} if an activation of a single window exceeds the largest buffer
 */
export function planForward(
  { kind, maxBufferBytes }: Pick<Backend, "kind" | "maxBufferBytes">,
  spec: ModelSpec,
  windows: number,
  tokens: number,
  {
    activationBytes = ACTIVATION_BYTES[kind],
    hiddenStatesBytes = HIDDEN_STATES_BYTES,
    location,
    parts = [windows],
  }: ForwardDivision & { readonly location?: HiddenStatesLocation } = {},
): ForwardPlan {
  const statesBytes = countStatesBytes(spec, windows, tokens);
  const maxWindows = largestBatch(spec, tokens, { maxBufferBytes, activationBytes }), batches: Batch[] = [];
  let start = 0;
  for (const size of parts) {
    for (const { first, count } of evenBatches(size, maxWindows)) {
      batches.push({ first: start + first, count });
    }
    start += size;
  }
  return {
    batches,
    statesBytes,
    place: choosePlace(statesBytes, hiddenStatesBytes, location),
  };
}
