/**
 * Decodes the two sparse layouts of the compressed-tensors format (`sparse-bitmask` and `sparse-24-bitmask`) entry by entry, exactly as the
 * format defines them. It shares no code with `src`.
 */

/** One tensor of a packed checkpoint file. */
export interface PackedTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/**
 * Returns the dense bytes of a packed weight whose entries have `size` bytes. Both layouts store the non-zero entries and the bitmask in
 * the same way.
 * @throws {Error} if the number of set bits differs from the number of stored entries
 */
export function decodeBitmask(
  compressed: PackedTensor,
  bitmask: PackedTensor,
  shape: PackedTensor,
  size: number,
): Uint8Array {
  const view = new DataView(shape.data.buffer, shape.data.byteOffset);
  const rows = Number(view.getBigInt64(0, true)), cols = Number(view.getBigInt64(8, true));
  const dense = new Uint8Array(rows * cols * size);
  let read = 0;
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const byte = bitmask.data[row * bitmask.shape[1] + Math.floor(col / 8)];
      if (Math.floor(byte / 2 ** (col % 8)) % 2 === 0) continue;
      for (let k = 0; k < size; k++) {
        dense[(row * cols + col) * size + k] = compressed.data[read * size + k];
      }
      read++;
    }
  }
  if (read * size !== compressed.data.length) {
    throw new Error(
      `the bitmask has ${read} set bits, but ${compressed.data.length / size} entries are stored`,
    );
  }
  return dense;
}

/** Returns, for each row, the number of set bits in all earlier rows: the `row_offsets` tensor of the format. */
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
