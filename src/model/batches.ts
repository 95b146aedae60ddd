/**
 * Divides the windows of a forward pass into batches, whose windows go through a block together. A batch is as large as memory allows,
 * because a large matrix product runs faster per row than a small one.
 */

import { blocksOf, type ModelSpec } from "./families/family.ts";
import { stagesOf } from "./layer_specs.ts";

export interface Batch {
  readonly first: number;
  readonly count: number;
}

/** The memory limits of a batch, in bytes. */
export interface MemoryBounds {
  /** The largest buffer that a kernel can bind. */
  readonly maxBufferBytes: number;
  /** The limit for all activations of a block together. */
  readonly activationBytes: number;
}

/**
 * Returns the largest number of windows of `tokens` tokens in a batch.
 * @throws {RangeError} if an activation of a single window exceeds the largest buffer. The message gives the
 * size of the activation and of the buffer
 */
export function largestBatch(
  spec: ModelSpec,
  tokens: number,
  { maxBufferBytes, activationBytes }: MemoryBounds,
): number {
  const { largest, total } = activationSizes(spec);
  const windowBytes = tokens * largest * 4;
  if (windowBytes > maxBufferBytes) {
    throw new RangeError(
      `window of ${tokens} tokens: an activation takes ${windowBytes} bytes, but the device's largest buffer ` +
        `has ${maxBufferBytes}; use shorter windows`,
    );
  }
  return Math.max(
    1,
    Math.min(Math.floor(maxBufferBytes / windowBytes), Math.floor(activationBytes / (tokens * total * 4))),
  );
}

/** Divides windows into batches of nearly equal size, and of at most `maxWindows` windows. */
export function evenBatches(windows: number, maxWindows: number): Batch[] {
  const batches = Math.ceil(windows / maxWindows);
  return Array.from({ length: batches }, (_, i) => {
    const first = Math.floor((i * windows) / batches);
    return { first, count: Math.floor(((i + 1) * windows) / batches) - first };
  });
}

/**
 * Counts the f32 elements per token: `largest` for the largest activation of a block, and `total` for all activations of a block together.
 */
function activationSizes(
  { hiddenSize, sharedColumns = 0, headProjection, ...blocks }: ModelSpec,
): { largest: number; total: number } {
  const kinds = [...new Set(blocksOf(blocks))].map(
    ({ groups, denseLayers = [], furtherActivations = [] }) => {
      // The groups of a stage run one after the other and share their buffers.
      const shared = stagesOf(groups).map(([group]) => group),
        inputs = shared.map(([first]) => first.inFeatures);
      const outputs = [...shared.flat(), ...denseLayers].map((linear) => linear.outFeatures);
      const states = [hiddenSize, ...sharedColumns > 0 ? [hiddenSize + sharedColumns] : []];
      return [...states, headProjection?.outFeatures ?? 0, ...inputs, ...outputs, ...furtherActivations];
    },
  );
  const sum = (sizes: readonly number[]) => sizes.reduce((total, size) => total + size, 0);
  return { largest: Math.max(...kinds.flat()), total: Math.max(...kinds.map(sum)) };
}

/**
 * Returns the common length of `windows`.
 * @throws {RangeError} if there is no window, if the lengths differ, or if they exceed `maxTokens`
 */
export function commonLength(windows: readonly Uint32Array[], maxTokens: number): number {
  const tokens = windows[0]?.length ?? 0;
  if (tokens === 0) throw new RangeError("windows: there must be at least one window of at least one token");
  const other = windows.find((window) => window.length !== tokens);
  if (other) {
    throw new RangeError(`windows: all must have the same length, got ${tokens} and ${other.length} tokens`);
  }
  if (tokens > maxTokens) {
    throw new RangeError(`window of ${tokens} tokens: the model has positions for ${maxTokens}`);
  }
  return tokens;
}
