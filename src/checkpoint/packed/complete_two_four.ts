/**
 * Fits a bitmask to the 2:4 layout, which stores exactly two of every four consecutive entries of a row. If a
 * group of four has fewer than two non-zero entries, one or two of its zeros are stored too. These zeros are
 * chosen as `torch.topk` chooses among equal values on the CPU (PyTorch 2.6), so that the files are the same
 * as those of the compressed-tensors library. A group with more than two non-zero entries cannot be stored.
 * It is reported as an error, because Pare never drops a value to make it fit.
 */

import { bitmaskRowBytes } from "./bitmask.ts";

/**
 * Maps the four bits of a group to a mask with two set bits, or to 0 if more than two bits are set. The
 * comments name the groups of each line.
 */
const COMPLETED_NIBBLES = Uint8Array.of(
  ...[0b1100, 0b0101, 0b1010, 0b0011], // 0000 0001 0010 0011
  ...[0b1100, 0b0101, 0b0110, 0], // 0100 0101 0110 0111
  ...[0b1100, 0b1001, 0b1010, 0], // 1000 1001 1010 1011
  ...[0b1100, 0, 0, 0], // 1100 1101 1110 1111
);

/** The position of a group of four that has more than two non-zero entries. */
export interface PatternViolation {
  readonly row: number;
  /** The first of the group's four columns. */
  readonly col: number;
}

/**
 * Sets additional bits of `bits` (rows, ⌈cols/8⌉) in place, so that every group of four has two set bits. `cols` must be a
 * multiple of 4.
 *
 * @returns the first group that has more than two set bits, in which case `bits` must not be used; undefined if there is none
 */
export function completeTwoFour(bits: Uint8Array, cols: number): PatternViolation | undefined {
  const rowBytes = bitmaskRowBytes(cols), hasHalf = cols % 8 !== 0;
  for (let at = 0; at < bits.length; at++) {
    const low = COMPLETED_NIBBLES[bits[at] & 15];
    const isHalf = hasHalf && at % rowBytes === rowBytes - 1; // four columns and four bits of padding
    const high = isHalf ? 0 : COMPLETED_NIBBLES[bits[at] >>> 4];
    if (low === 0 || (high === 0 && !isHalf)) {
      return { row: Math.floor(at / rowBytes), col: at % rowBytes * 8 + (low === 0 ? 0 : 4) };
    }
    bits[at] = low | high << 4;
  }
}
