/**
 * The format `mxfp4` of gpt-oss. The experts of a block are fused, and `NAME_blocks` and `NAME_scales` store the weight `NAME`:
 *
 *     NAME_blocks  (experts, out, in/32, 16)  U8  two codes per byte, the first in the lower bits
 *     NAME_scales  (experts, out, in/32)      U8  the exponent of 32 codes, with the bias 127
 *     NAME         (experts, in, out)         BF16, transposed, as checkpoints without quantisation store it
 *
 * An entry is the number of its code times a power of two, which is exact in BF16. The source is `integrations/mxfp4.py` in
 * github.com/huggingface/transformers (version 5.24).
 */

import { ModelError } from "../../base/files/file_error.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { readElements, requireTensor } from "../checkpoint/tensor_source.ts";
import { powerOfTwo } from "./codes/scaled_matrix.ts";
import { type Format, stemsOf, type StoredWeight } from "./format.ts";

const BLOCKS = "_blocks", SCALES = "_scales";
const BLOCK_BYTES = 16, BLOCK_CODES = 2 * BLOCK_BYTES;

/** The number of each code in E2M1: a sign, two bits of an exponent and one bit of a mantissa. */
const NUMBERS = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6];

export const MXFP4: Format = {
  name: "mxfp4",
  method: "mxfp4",
  find: (checkpoint) => stemsOf(checkpoint, BLOCKS).map((name) => fusedExperts(checkpoint, name)),
};

function fusedExperts(checkpoint: Checkpoint, name: string): StoredWeight {
  const blocks = name + BLOCKS, scales = name + SCALES, { shape } = checkpoint.info(blocks);
  const [experts, outputs, groups, bytes] = shape;
  if (shape.length !== 4 || bytes !== BLOCK_BYTES) {
    throw new ModelError(
      `${checkpoint.folder}: ${blocks} must have the shape [experts, outputs, groups, ${BLOCK_BYTES}], not [${shape}]`,
    );
  }
  requireTensor(checkpoint, blocks, "U8", shape);
  requireTensor(checkpoint, scales, "U8", shape.slice(0, 3));
  const inputs = groups * BLOCK_CODES, groupsPerExpert = outputs * groups;
  return {
    name,
    dtype: "BF16",
    shape: [experts, inputs, outputs],
    tensors: [blocks, scales],
    sections: experts,
    async open(source, first, end) {
      const [begin, count] = [first * groupsPerExpert, (end - first) * groupsPerExpert];
      const codes = await readElements(source, blocks, begin * BLOCK_BYTES, count * BLOCK_BYTES);
      const factors = Float32Array.from(await readElements(source, scales, begin, count), powerOfTwo);
      return (row, values) => {
        const input = row % inputs, group = Math.floor(input / BLOCK_CODES);
        const byte = input % BLOCK_CODES >> 1, shift = input % 2 * 4;
        let at = Math.floor(row / inputs) * groupsPerExpert + group;
        for (let output = 0; output < outputs; output++, at += groups) {
          values[output] = NUMBERS[codes[at * BLOCK_BYTES + byte] >> shift & 15] * factors[at];
        }
      };
    },
  };
}
