/** The type of a kernel's float64 reference, and helpers that several references share. */

/** The buffers of a dispatch. Floats are float64 numbers here. */
export type Contents = Readonly<Record<string, Float64Array | Uint32Array>>;

/** The parameters of a dispatch. */
export type Params = Readonly<Record<string, number>>;

/** Computes a dispatch in float64 and changes the buffers that the kernel writes. */
export type Reference = (buffers: Contents, params: Params) => void;

/** Calls `visit` for each element of a (rows, cols) matrix in row-major order. */
export function eachElement(rows: number, cols: number, visit: (row: number, col: number) => void): void {
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) visit(r, c);
}

/** Returns bit `column` of a row of a mask with `words` words per row. */
export function bitOf(mask: ArrayLike<number>, words: number, row: number, column: number): number {
  return (mask[row * words + (column >> 5)] >>> (column & 31)) & 1;
}

/** Sets or clears bit `column` of a row of a mask. */
export function setBit(
  mask: Uint32Array | Float64Array,
  words: number,
  row: number,
  column: number,
  bit: boolean,
): void {
  const at = row * words + (column >> 5), flag = 1 << (column & 31);
  mask[at] = (bit ? mask[at] | flag : mask[at] & ~flag) >>> 0;
}

/** Returns the bits of a number that f32 represents exactly. */
export function floatBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0];
}

/** Returns a (rows, cols) part of a buffer without the padding between its rows. */
export function packed(
  buffer: ArrayLike<number>,
  rows: number,
  cols: number,
  offset: number,
  ld: number,
): Float64Array {
  return Float64Array.from(
    { length: rows * cols },
    (_, i) => buffer[offset + Math.floor(i / cols) * ld + i % cols],
  );
}
