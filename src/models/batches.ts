/** Divides the windows into batches. A batch goes through a block together, and is as large as memory allows, because large products are fast. */

import type { ModelSpec } from "./families/family.ts";

/** Consecutive windows. */
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
 * Divides `windows` windows of `tokens` tokens into batches of nearly equal size.
 * @throws {RangeError} if an activation of a single window exceeds the largest buffer; the message names both sizes
 */
export function planBatches(
  spec: ModelSpec,
  windows: number,
  tokens: number,
  { maxBufferBytes, activationBytes }: MemoryBounds,
): Batch[] {
  const { largest, all } = activationWidths(spec);
  const windowBytes = tokens * largest * 4;
  if (windowBytes > maxBufferBytes) {
    throw new RangeError(
      `window of ${tokens} tokens: an activation takes ${windowBytes} bytes, the device's largest buffer ` +
        `is ${maxBufferBytes}; use shorter windows`,
    );
  }
  const most = Math.max(
    1,
    Math.min(Math.floor(maxBufferBytes / windowBytes), Math.floor(activationBytes / (tokens * all * 4))),
  );
  const batches = Math.ceil(windows / most);
  return Array.from({ length: batches }, (_, i) => {
    const first = Math.floor((i * windows) / batches);
    return { first, count: Math.floor(((i + 1) * windows) / batches) - first };
  });
}

/** Returns the f32 elements per token of the widest activation in a block, and of all activations in the workspace together. */
function activationWidths(
  { hiddenSize, headProjection, block }: ModelSpec,
): { largest: number; all: number } {
  const inputs = block.groups.map(([first]) => first.inFeatures);
  const outputs = block.groups.flat().map((linear) => linear.outFeatures);
  const widths = [hiddenSize, headProjection?.outFeatures ?? 0, ...inputs, ...outputs];
  return { largest: Math.max(...widths), all: widths.reduce((sum, width) => sum + width) };
}
