/** Reads which weights a picture of a mask shows as kept, and which ones the bits of the mask keep. */

import type { Page } from "playwright-core";

/** Returns whether each weight of the picture of the mask is drawn as kept, read from the middle of its square. */
export function drawnMask(page: Page, rows: number, cols: number): Promise<boolean[]> {
  return page.evaluate(
    `(() => {
      const canvas = document.querySelector("canvas"), square = canvas.width / ${cols};
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return Array.from({ length: ${rows * cols} }, (_, i) => {
        const x = Math.floor((i % ${cols} + 0.5) * square), y = Math.floor((Math.floor(i / ${cols}) + 0.5) * square);
        return data[4 * (y * canvas.width + x) + 3] > 127;
      });
    })()`,
  );
}

/** Returns whether each weight is kept, from the bits of a mask. */
export function unpackMask(mask: Uint8Array, rows: number, cols: number): boolean[] {
  const rowBytes = Math.ceil(cols / 8);
  return Array.from({ length: rows * cols }, (_, i) => {
    const row = Math.floor(i / cols), col = i % cols;
    return (mask[row * rowBytes + (col >> 3)] >> (col & 7) & 1) === 1;
  });
}
