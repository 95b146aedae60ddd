/** Counts the weights of a layer by value, before and after pruning, and draws both as one SVG picture. */

import { makeSvg } from "../dom.ts";
import { formatNumber } from "../format.ts";

const WIDTH = 640, HEIGHT = 220, LEFT = 8, RIGHT = 8, TOP = 12, BOTTOM = 30;

/** The number of bins. It is odd, so that weights near 0 share the bin in the middle. */
export const BINS = 81;

/** Draws the weights after pruning as bars, and the weights before as a line. */
export function drawHistogram(before: Distribution, after: Distribution): SVGElement {
  const highest = Math.max(1, ...before.counts, ...after.counts), bins = before.counts.length;
  const width = (WIDTH - LEFT - RIGHT) / bins, bottom = HEIGHT - BOTTOM;
  const x = (bin: number) => LEFT + bin * width,
    y = (count: number) => bottom - count / highest * (bottom - TOP);
  const bars = [...after.counts].map((count, bin) =>
    makeSvg("rect", {
      class: "after",
      fill: "var(--accent)",
      x: x(bin) + 0.5,
      y: y(count),
      width: width - 1,
      height: bottom - y(count),
    })
  );
  const line = [...before.counts].map((count, bin) =>
    `${bin === 0 ? "M" : "L"}${x(bin)} ${y(count)}H${x(bin + 1)}`
  );
  const ticks = [-1, -0.5, 0, 0.5, 1].map((share) =>
    makeSvg("text", {
      x: LEFT + (share + 1) / 2 * (WIDTH - LEFT - RIGHT),
      y: HEIGHT - 8,
      fill: "currentColor",
      "text-anchor": share === -1 ? "start" : share === 1 ? "end" : "middle",
    }, formatNumber(share * before.limit, 2))
  );
  return makeSvg(
    "svg",
    {
      class: "histogram",
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: "img",
      "aria-label": `Histogram of the weights from ${formatNumber(-before.limit, 2)} to ${
        formatNumber(before.limit, 2)
      }`,
    },
    ...bars,
    makeSvg("path", {
      class: "before",
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 1.5,
      d: line.join(""),
    }),
    makeSvg("path", { stroke: "currentColor", d: `M${LEFT} ${bottom + 0.5}H${WIDTH - RIGHT}` }),
    ...ticks,
  );
}

/** The numbers of weights in bins of equal width. */
export interface Distribution {
  /** The bins cover the weights from −limit to limit. Weights beyond are in the outermost bins. */
  readonly limit: number;
  readonly counts: Uint32Array<ArrayBuffer>;
  /** The number of weights that are exactly 0. They are in no bin. */
  readonly zeros: number;
}

export function distributionOf(weights: Float32Array, limit: number, bins: number): Distribution {
  const counts = new Uint32Array(bins);
  let zeros = 0;
  for (const weight of weights) {
    if (weight === 0) zeros++;
    else counts[Math.min(bins - 1, Math.max(0, Math.floor((weight / limit + 1) / 2 * bins)))]++;
  }
  return { limit, counts, zeros };
}

/**
 * Returns a round limit beyond which few weights lie: four times the root of the mean square, or the largest magnitude
 * if it is less. It is an even number of tenths of its power of ten, so that half of it is round too.
 */
export function limitOf(weights: Float32Array): number {
  let squares = 0, largest = 0;
  for (const weight of weights) {
    squares += weight * weight;
    largest = Math.max(largest, Math.abs(weight));
  }
  const limit = Math.min(largest, 4 * Math.sqrt(squares / weights.length)) || 1;
  const step = 2 * 10 ** (Math.floor(Math.log10(limit)) - 1);
  return step * Math.ceil(limit / step);
}
