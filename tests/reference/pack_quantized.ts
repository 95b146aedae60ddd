/**
 * Decodes quantised weights bit by bit, from the definition of the format `pack-quantized` in the library compressed-tensors
 * (https://github.com/vllm-project/compressed-tensors). A grid has the values (code − zero)·scale for the codes 0 …
 * 2^bits − 1. This file shares no code with `src`.
 */

/** One tensor of a packed file. */
export interface PackedTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** The tensors of a quantised weight. The zero point is absent if the grid is symmetric. */
export interface PackedQuantized {
  readonly packed: PackedTensor;
  readonly scale: PackedTensor;
  readonly zeroPoint?: PackedTensor;
  readonly shape: PackedTensor;
}

/**
 * Decodes a quantised weight to numbers, row-major. The numbers are exact: (code − zero)·scale in float64.
 *
 * @param bits the number of bits of a code
 * @param scales the numbers of the tensor `scale`, row-major
 */
export function decodeQuantized(
  { packed, scale, zeroPoint, shape }: PackedQuantized,
  bits: number,
  scales: ArrayLike<number>,
): Float64Array {
  const view = new DataView(shape.data.buffer, shape.data.byteOffset);
  const rows = Number(view.getBigInt64(0, true)), cols = Number(view.getBigInt64(8, true));
  const groups = scale.shape[1], groupSize = cols / groups;
  const values = new Float64Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const group = Math.floor(col / groupSize);
      const code = bitField(packed, (word) => row * packed.shape[1] + word, col * bits, bits);
      const zero = zeroPoint
        ? bitField(zeroPoint, (word) => word * zeroPoint.shape[1] + group, row * bits, bits)
        : 2 ** (bits - 1);
      values[row * cols + col] = (code - zero) * scales[row * groups + group];
    }
  }
  return values;
}

/** Reads `bits` bits, from the bit `firstBit` of a sequence of words on. `wordAt` returns the index of a word in the tensor. */
function bitField(
  tensor: PackedTensor,
  wordAt: (word: number) => number,
  firstBit: number,
  bits: number,
): number {
  const view = new DataView(tensor.data.buffer, tensor.data.byteOffset);
  let value = 0;
  for (let bit = firstBit; bit < firstBit + bits; bit++) {
    const word = view.getUint32(wordAt(Math.floor(bit / 32)) * 4, true);
    value += (Math.floor(word / 2 ** (bit % 32)) % 2) * 2 ** (bit - firstBit);
  }
  return value;
}

/** Rounds a number to the nearest number of a dtype, ties to even. */
export function roundTo(value: number, dtype: string): number {
  if (dtype === "F32") return Math.fround(value);
  if (dtype === "F16") return Math.f16round(value);
  // bf16 has 8 significant bits: scale them to an integer, round it, and scale back.
  if (value === 0) return value;
  const unit = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(value))), -126) - 7);
  const quotient = value / unit, below = Math.floor(quotient), rest = quotient - below;
  const isUp = rest > 0.5 || (rest === 0.5 && below % 2 !== 0);
  return (below + (isUp ? 1 : 0)) * unit;
}
