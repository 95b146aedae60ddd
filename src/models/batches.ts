/** How many windows go through a block at a time: as many as memory allows, so that products are large. */

import type { ModelSpec } from "./families/family.ts";

/** Some consecutive windows. */
export interface Batch {
  readonly first: number;
  readonly count: number;
}

/** What bounds a batch, in bytes. */
export interface MemoryBounds {
  /** The largest buffer a kernel can bind. */
  readonly maxBufferBytes: number;
  /** For all activations of a block together. */
  readonly activationBytes: number;
}

/**
 * Divides `windows` windows of `tokens` tokens into batches of nearly one size.
 * @throws {RangeError} a single window has an activation past the largest buffer: names both sizes
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

/** f32 elements a token: of the widest activation in a block, and of all that the workspace keeps. */
function activationWidths(
  { hiddenSize, headProjection, block }: ModelSpec,
): { largest: number; all: number } {
  const inputs = block.groups.map(([first]) => first.inFeatures);
  const outputs = block.groups.flat().map((linear) => linear.outFeatures);
  const widths = [hiddenSize, headProjection?.outFeatures ?? 0, ...inputs, ...outputs];
  return { largest: Math.max(...widths), all: widths.reduce((sum, width) => sum + width) };
}
