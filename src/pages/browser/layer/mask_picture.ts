/** Draws a mask: one point per weight, or one per block of weights if the layer is larger than the picture. */

import type { HostTensor } from "../../../client/mod.ts";
import { make } from "../dom.ts";

/** The longest edge of a picture in points. */
const LONGEST_EDGE = 512;

/** The longer edge of a canvas in pixels, about. It is longer than that of the picture on the page. */
const CANVAS_EDGE = 1400;

/** Returns the number of rows and of columns of the block of weights that one point stands for. */
export function blockOf({ rows, cols }: MaskPart): number {
  return Math.max(1, Math.ceil(Math.max(rows, cols) / LONGEST_EDGE));
}

/** A part of a mask, from the first row and column. */
export interface MaskPart {
  readonly rows: number;
  readonly cols: number;
}

/** Draws the first `rows` and `cols` of a mask U8 [out, ⌈in/8⌉]. Kept weights are coloured, and pruned ones are transparent. */
export function drawMask(mask: HostTensor, { rows, cols }: MaskPart, label: string): HTMLCanvasElement {
  const block = blockOf({ rows, cols });
  const width = Math.ceil(cols / block), height = Math.ceil(rows / block);
  const image = new ImageData(width, height), kept = countKept(mask, { rows, cols }, block, width, height);
  const colour = maskColour();
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const area = Math.min(block, cols - x * block) * Math.min(block, rows - y * block);
      const share = kept[y * width + x] / area;
      image.data.set([...colour, Math.round(255 * share)], 4 * (y * width + x));
    }
  }
  return enlarge(image, label);
}

/** Returns a canvas with the points of `image` as squares of several pixels, so that the browser scales them evenly. */
function enlarge(image: ImageData, label: string): HTMLCanvasElement {
  const points = make("canvas"), canvas = make("canvas", { class: "mask", role: "img", "aria-label": label });
  const scale = Math.max(1, Math.round(CANVAS_EDGE / Math.max(image.width, image.height)));
  points.width = image.width;
  points.height = image.height;
  points.getContext("2d")?.putImageData(image, 0, 0);
  canvas.width = scale * image.width;
  canvas.height = scale * image.height;
  const context = canvas.getContext("2d");
  if (context) {
    context.imageSmoothingEnabled = false;
    context.drawImage(points, 0, 0, canvas.width, canvas.height);
  }
  return canvas;
}

/** Counts the kept weights of each block. */
function countKept(
  { data, shape }: HostTensor,
  { rows, cols }: MaskPart,
  block: number,
  width: number,
  height: number,
): Uint32Array {
  const counts = new Uint32Array(width * height), rowBytes = shape[1];
  for (let row = 0; row < rows; row++) {
    const line = Math.floor(row / block) * width;
    for (let col = 0; col < cols; col++) {
      counts[line + Math.floor(col / block)] += data[row * rowBytes + (col >> 3)] >> (col & 7) & 1;
    }
  }
  return counts;
}

/** Returns the red, green and blue of the colour `--mask` of the style, which is written as #RRGGBB. */
function maskColour(): number[] {
  const hex = getComputedStyle(document.documentElement).getPropertyValue("--mask").trim();
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16) || 0);
}
