/** The sparse layouts of compressed-tensors, decoded entry by entry from the letter of the format. Shares no code with src. */

/** A tensor of a packed file. */
export interface PackedTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** The dense bytes of a packed weight whose entries have `size` bytes; the same for both layouts. */
export function decodeBitmask(
  compressed: PackedTensor,
  bitmask: PackedTensor,
  shape: PackedTensor,
  size: number,
): Uint8Array {
  const view = new DataView(shape.data.buffer, shape.data.byteOffset);
  const rows = Number(view.getBigInt64(0, true)), cols = Number(view.getBigInt64(8, true));
  const dense = new Uint8Array(rows * cols * size);
  let taken = 0;
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const byte = bitmask.data[row * bitmask.shape[1] + Math.floor(col / 8)];
      if (Math.floor(byte / 2 ** (col % 8)) % 2 === 0) continue;
      for (let k = 0; k < size; k++) {
        dense[(row * cols + col) * size + k] = compressed.data[taken * size + k];
      }
      taken++;
    }
  }
  if (taken * size !== compressed.data.length) throw new Error(`${taken} bits for another number of entries`);
  return dense;
}

/** The entries kept before each row, counted from the bits. */
export function rowOffsets(bitmask: PackedTensor): bigint[] {
  const [rows, rowBytes] = bitmask.shape;
  let before = 0n;
  return Array.from({ length: rows }, (_, row) => {
    const start = before;
    for (const byte of bitmask.data.subarray(row * rowBytes, (row + 1) * rowBytes)) {
      for (let bit = 1; bit < 256; bit *= 2) if (byte & bit) before++;
    }
    return start;
  });
}
