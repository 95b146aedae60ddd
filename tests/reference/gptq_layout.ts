/**
 * Decodes weights in the layout `gptq` number by number, as the linear layers of AutoGPTQ (https://github.com/AutoGPTQ/AutoGPTQ) define it for
 * the checkpoint format "gptq". This file shares no code with `src`.
 */

import type { PackedTensor } from "./pack_quantized.ts";

/** The tensors of a quantised weight. */
export interface GptqTensors {
  readonly qweight: PackedTensor;
  readonly qzeros: PackedTensor;
  readonly scales: PackedTensor;
  readonly g_idx: PackedTensor;
}

/** Decodes a weight to exact numbers (rows, cols), row-major. @param bits the bits of a code, 4 or 8 */
export function decodeGptq({ qweight, qzeros, scales, g_idx }: GptqTensors, bits: number): Float64Array {
  const rows = qweight.shape[1], cols = g_idx.shape[0], perWord = 32 / bits;
  const word = ({ shape, data }: PackedTensor, row: number, col: number) =>
    new DataView(data.buffer, data.byteOffset).getUint32(4 * (row * shape[1] + col), true);
  const field = (bitsOfWord: number, index: number) =>
    Math.floor(bitsOfWord / 2 ** (bits * index)) % 2 ** bits;
  const values = new Float64Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const group = new DataView(g_idx.data.buffer, g_idx.data.byteOffset).getInt32(4 * col, true);
      const code = field(word(qweight, Math.floor(col / perWord), row), col % perWord);
      const zero = field(word(qzeros, group, Math.floor(row / perWord)), row % perWord) + 1;
      const scale = new DataView(scales.data.buffer, scales.data.byteOffset).getFloat16(
        2 * (group * scales.shape[1] + row),
        true,
      );
      values[row * cols + col] = (code - zero) * scale;
    }
  }
  return values;
}
