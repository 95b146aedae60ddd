/** Draws a mask: one point per weight, or one per block of weights if the layer is larger than the picture. */

import type { HostTensor, PrunedLayer } from "../../../client/mod.ts";
import { make, makeFigure } from "../dom.ts";

/** The longest edge of a picture in points. */
const LONGEST_EDGE = 512;

/** The approximate longer edge of a canvas in pixels, which is more than the picture has on the page. */
const CANVAS_EDGE = 1400;

/** The part of the mask that the close-up shows. */
const CLOSE_ROWS = 24, CLOSE_COLS = 48;

/** Draws the pictures of the latest mask again. */
let redraw = () => {};

// The colours of a canvas do not follow the style.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());

/** Returns a section with the pictures of the whole mask and of its first weights. */
export function maskSection({ mask, report: { rows, cols } }: PrunedLayer): HTMLElement {
  const whole = { rows, cols }, part = { rows: Math.min(rows, CLOSE_ROWS), cols: Math.min(cols, CLOSE_COLS) };
  const draw = () => [
    makeFigure(
      drawMask(mask, whole, `The mask of all ${rows} × ${cols} weights`),
      `All ${rows} × ${cols} weights. ${explainPoints(blockOf(whole))}`,
    ),
    makeFigure(
      drawMask(mask, part, `The mask of the first ${part.rows} × ${part.cols} weights`),
      `The first ${part.rows} rows and ${part.cols} columns.${
        blockOf(whole) === 1 ? "" : ` ${explainPoints(1)}`
      }`,
    ),
  ];
  const figures = make("div", {}, ...draw());
  redraw = () => figures.replaceChildren(...draw());
  return make("section", {}, make("h2", {}, "Mask"), figures);
}

function explainPoints(block: number): string {
  return block === 1
    ? "Each point is a weight: coloured points are kept, blank ones are zero."
    : `Each point stands for ${block} × ${block} weights. The stronger its colour, the more of them are kept.`;
}

/** Returns the number of rows and of columns of the block of weights that one point stands for. */
function blockOf({ rows, cols }: MaskPart): number {
  return Math.max(1, Math.ceil(Math.max(rows, cols) / LONGEST_EDGE));
}

/** A part of a mask, from the first row and column. */
interface MaskPart {
  readonly rows: number;
  readonly cols: number;
}

/** Draws a part of a mask U8 [out, ⌈in/8⌉]. Kept weights are coloured, and pruned ones are transparent. */
function drawMask(mask: HostTensor, { rows, cols }: MaskPart, label: string): HTMLCanvasElement {
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
  const points = make("canvas"), canvas = make("canvas", { role: "img", "aria-label": label });
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

/** Returns the red, green and blue of the accent colour of the page. */
function maskColour(): number[] {
  const { accentColor } = getComputedStyle(document.documentElement);
  return accentColor.match(/\d+/g)?.slice(0, 3).map(Number) ?? [0, 0, 0];
}
