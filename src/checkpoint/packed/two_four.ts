/**
 * The 2:4 layout keeps exactly two of every four consecutive entries of a row. A group of four with fewer that are
 * not zero keeps zeros beside them, in the places where torch.topk on the CPU breaks the tie (PyTorch 2.6), so
 * that the files come out as the library's. A group with more cannot be stored and is reported, not thinned.
 */

/** What four bits become; 0 where more than two are set. */
const COMPLETED = Uint8Array.of(
  ...[0b1100, 0b0101, 0b1010, 0b0011], // 0000 0001 0010 0011
  ...[0b1100, 0b0101, 0b0110, 0], // 0100 0101 0110 0111
  ...[0b1100, 0b1001, 0b1010, 0], // 1000 1001 1010 1011
  ...[0b1100, 0, 0, 0], // 1100 1101 1110 1111
);

/** Where a group of four keeps more than two. */
export interface CrowdedGroup {
  readonly row: number;
  /** The first of its columns. */
  readonly col: number;
}

/**
 * Completes `bits` (rows, ⌈cols/8⌉) in place so that every group of four has two set; `cols` is a multiple of 4.
 * The first group that has more, if any, in which case `bits` is of no use.
 */
export function completeTwoFour(bits: Uint8Array, cols: number): CrowdedGroup | undefined {
  const rowBytes = Math.ceil(cols / 8), hasHalf = cols % 8 !== 0;
  for (let at = 0; at < bits.length; at++) {
    const low = COMPLETED[bits[at] & 15];
    const isHalf = hasHalf && at % rowBytes === rowBytes - 1; // four columns and four bits of padding
    const high = isHalf ? 0 : COMPLETED[bits[at] >>> 4];
    if (low === 0 || (high === 0 && !isHalf)) {
      return { row: Math.floor(at / rowBytes), col: at % rowBytes * 8 + (low === 0 ? 0 : 4) };
    }
    bits[at] = low | high << 4;
  }
}
