import { BYTES_PER_ELEMENT } from "./dtype.ts";
import type { HostTensor } from "./host_tensor.ts";

/** The edge of the squares that are transposed one at a time. Source and result of a square fit into the CPU cache. */
const EDGE = 64;

/** Returns the transpose of a matrix. @throws {RangeError} if the elements have neither 16 nor 32 bits */
export function transpose({ dtype, shape: [rows, cols], data }: HostTensor): HostTensor {
  const elementBytes = BYTES_PER_ELEMENT[dtype];
  if (elementBytes !== 2 && elementBytes !== 4) {
    throw new RangeError(`transpose: needs elements of 16 or 32 bits, got dtype ${dtype}`);
  }
  const ArrayType = elementBytes === 2 ? Uint16Array : Uint32Array;
  const aligned = data.byteOffset % elementBytes === 0 ? data : data.slice();
  const source = new ArrayType(aligned.buffer, aligned.byteOffset, rows * cols);
  const target = new ArrayType(rows * cols);
  for (let row0 = 0; row0 < rows; row0 += EDGE) {
    const rowEnd = Math.min(row0 + EDGE, rows);
    for (let col0 = 0; col0 < cols; col0 += EDGE) {
      const colEnd = Math.min(col0 + EDGE, cols);
      for (let r = row0; r < rowEnd; r++) {
        for (let c = col0; c < colEnd; c++) target[c * rows + r] = source[r * cols + c];
      }
    }
  }
  return { dtype, shape: [cols, rows], data: new Uint8Array(target.buffer) };
}
