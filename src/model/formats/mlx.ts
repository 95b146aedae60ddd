/**
 * The affine format of MLX, which mlx-lm reads on Apple's processors. The source is `nn/layers/quantized.py` in
 * github.com/ml-explore/mlx (version 0.32). A weight (rows, cols) of B bits in groups of G columns becomes
 *
 *     NAME.weight  (rows, cols·B/32)  U32  the codes of a row, the first in the lowest bits
 *     NAME.scales  (rows, cols/G)     a float dtype
 *     NAME.biases  (rows, cols/G)     the same dtype
 *
 * and code·scale + bias is an entry. Pare writes symmetric grids only: their bias −2^(B − 1)·scale is a number of the dtype of the
 * scales, so a pruned weight is exactly 0. The member `quantization` of config.json has the grid, and may have other grids for single
 * modules under their names. A module without scales is dense.
 */

import { isObject } from "../../base/json.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { bytesToFloats, type FloatDtype, floatsToBytes, isFloatDtype } from "../../tensor/dtype.ts";
import { gridsPerRow } from "../../tensor/quantization.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { readTensor, requireTensor, type TensorSource } from "../checkpoint/tensor_source.ts";
import { packRows, unpackRows } from "./codes/packed_words.ts";
import { MLX_KEY, MLX_METHOD, unsupportedMember } from "./config/quantization_config.ts";
import {
  type CodedWeight,
  GROUP_SIZES,
  stemOf,
  stemsOf,
  type StoredWeight,
  type WrittenFormat,
} from "./format.ts";

/** The bits for which MLX has kernels, the default first. */
const BITS: readonly number[] = [4, 8, 2, 3, 5, 6];

const SCALES = ".scales", BIASES = ".biases";

export const MLX: WrittenFormat = {
  name: "mlx",
  method: MLX_METHOD,
  find(checkpoint, description) {
    return stemsOf(checkpoint, SCALES).map((stem) => {
      const own = description[stem], kind = isObject(own) ? { ...description, ...own } : description;
      return affineWeight(checkedWeight(checkpoint, stem, kind));
    });
  },
  writer: {
    bits: BITS,
    isUniform: true,
    loadsOwnClasses: true,
    configKey: MLX_KEY,
    specs(weight) {
      const { name, rows, cols, bits, dtype } = weight, [codes, scales, biases] = tensorNames(name);
      const shape = [rows, gridsPerRow(weight, cols)];
      return [
        { name: codes, dtype: "U32", shape: [rows, cols * bits / 32] },
        { name: scales, dtype, shape },
        { name: biases, dtype, shape },
      ];
    },
    pack: ({ cols, bits, dtype }, { codes, scales }) => [
      packRows(codes, cols, bits),
      floatsToBytes(scales, dtype),
      floatsToBytes(scales.map((scale) => -middle(bits) * scale), dtype),
    ],
    stored: (weight) => ({ ...affineWeight(weight), coded: symmetricCodes(weight) }),
    describe: ([{ bits, groupSize }]) => ({ group_size: groupSize, bits, mode: "affine" }),
  },
  howToLoad: (folder) => [
    `run it on a Mac, after pip install mlx-lm: mlx_lm.generate --model ${folder} --prompt "PROMPT"`,
  ],
};

/** The code of 0 in a symmetric grid. */
function middle(bits: number): number {
  return 2 ** (bits - 1);
}

function tensorNames(name: string): [codes: string, scales: string, biases: string] {
  return [name, stemOf(name) + SCALES, stemOf(name) + BIASES];
}

/** Describes a weight of a checkpoint. @throws {ModelError} if its grid is not supported, or a tensor is missing or malformed */
function checkedWeight(
  checkpoint: Checkpoint,
  stem: string,
  { bits, group_size: groupSize, mode = "affine" }: Readonly<Record<string, unknown>>,
): CodedWeight {
  const { folder } = checkpoint, name = `${stem}.weight`, [codes, scales, biases] = tensorNames(name);
  if (mode !== "affine") throw unsupportedMember(folder, "mode", "affine or absent", mode);
  if (!BITS.includes(bits as number)) {
    throw unsupportedMember(folder, "bits", BITS.toSorted().join(" or "), bits);
  }
  if (!GROUP_SIZES.includes(groupSize as number)) {
    throw unsupportedMember(folder, "group_size", GROUP_SIZES.toReversed().join(" or "), groupSize);
  }
  const { shape, dtype } = checkpoint.info(scales);
  if (shape.length !== 2 || !isFloatDtype(dtype)) {
    throw new ModelError(`${folder}: ${scales} must be a matrix of a float dtype, not ${dtype} [${shape}]`);
  }
  const grid = { bits: bits as number, groupSize: groupSize as number, symmetric: false };
  const weight = { ...grid, name, rows: shape[0], cols: shape[1] * grid.groupSize, dtype };
  requireTensor(checkpoint, codes, "U32", [weight.rows, weight.cols * grid.bits / 32]);
  requireTensor(checkpoint, biases, dtype, shape);
  return weight;
}

/** Describes a weight, whose rows are computed one by one. */
function affineWeight(weight: CodedWeight): StoredWeight {
  const { name, dtype, rows, cols, groupSize } = weight, [, scaleName, biasName] = tensorNames(name);
  return {
    name,
    dtype,
    shape: [rows, cols],
    tensors: tensorNames(name),
    sections: 1,
    async open(source) {
      const codes = await readCodes(source, weight);
      const [scales, biases] = [await readFloats(source, scaleName), await readFloats(source, biasName)];
      return (row, values) => {
        for (let col = 0; col < cols; col++) {
          const at = row * cols + col, grid = Math.floor(at / groupSize);
          values[col] = codes[at] * scales[grid] + biases[grid];
        }
      };
    },
  };
}

/** The codes of a weight that `pack` has written, whose biases follow from its scales. */
function symmetricCodes(weight: CodedWeight): StoredWeight["coded"] {
  return {
    ...weight,
    readCodes: (source) => readCodes(source, weight),
    async readGrids(source) {
      const scales = await readFloats(source, stemOf(weight.name) + SCALES);
      return { scales, zeros: new Uint8Array(scales.length).fill(middle(weight.bits)) };
    },
  };
}

async function readCodes(source: TensorSource, { name, cols, bits }: CodedWeight) {
  return unpackRows((await readTensor(source, name)).data, cols, bits);
}

async function readFloats(source: TensorSource, name: string) {
  const { data, dtype } = await readTensor(source, name);
  return bytesToFloats(data, dtype as FloatDtype);
}
