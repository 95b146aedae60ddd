/**
 * Decodes packed sparse weights, entry by entry, from the definition of the formats `sparse-bitmask` and
 * `sparse-24-bitmask` in the library compressed-tensors (https://github.com/vllm-project/compressed-tensors).
 * A packed weight is stored as its nonzero entries, a bitmask of their positions, and its shape. This file
 * shares no code with `src`.
 */

/** One tensor of a packed file. */
export interface PackedTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/**
 * Decodes a packed weight to the bytes of the dense weight, row-major. Both formats are decoded in the same way.
 *
 * @param compressed the nonzero entries, in row-major order
 * @param bitmask one bit per entry, U8 (rows, ⌈cols/8⌉), least significant bit first; a 1 marks a stored
 * entry
 * @param shape the numbers of rows and columns of the dense weight, I64 [2]
 * @param size the size of an entry, in bytes
 * @throws {Error} if the number of ones in the bitmask is not the number of stored entries
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
  if (taken * size !== compressed.data.length) {
    throw new Error(
      `the bitmask has ${taken} ones, but the stored entries have ${compressed.data.length} bytes`,
    );
  }
  return dense;
}

/** The number of nonzero entries before each row, counted from the bitmask (the tensor `row_offsets` of the format). */
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
