/** Ranks what limits a layer on an adapter, from the figures of the same run. */

import type { LayerTimes } from "./time_layer.ts";
import type { Transfers } from "./transfers.ts";

/** One cause of the time of a layer. */
export interface Limit {
  readonly what: string;
  readonly seconds: number;
  /** The seconds as a fraction of the sum of all limits. The limits can overlap. */
  readonly share: number;
}

/**
 * Returns the limits of one layer, the largest first: each kernel, the gaps between dispatches, and the
 * transfers of a request with the weights in 16 bits and one triangle of the statistics in 32 bits.
 */
export function rankLimits(layer: LayerTimes, transfers: Transfers): Limit[] {
  const { order, dispatches } = layer;
  const uploaded = 2 * order ** 2 + 2 * order * (order + 1), read = 2 * order ** 2 + order ** 2 / 8;
  const limits = [
    ...Object.entries(layer.kernelSeconds).map(([name, seconds]) => ({ what: `kernel ${name}`, seconds })),
    { what: `gaps between ${dispatches} dispatches`, seconds: dispatches * transfers.dispatchSeconds },
    { what: "upload of the request", seconds: uploaded / transfers.uploadBytesPerSecond },
    { what: "read-back of the answer", seconds: read / transfers.readBytesPerSecond },
  ].filter(({ what }) => what !== "kernel transfers");
  const total = limits.reduce((sum, { seconds }) => sum + seconds, 0);
  return limits.map((limit) => ({ ...limit, share: limit.seconds / total }))
    .sort((a, b) => b.seconds - a.seconds);
}
