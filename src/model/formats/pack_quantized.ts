/**
 * The layout `pack-quantized` as a format of stored weights. `layout.ts` describes its tensors. Their dtypes and shapes must agree with
 * each other.
 */

import { ModelError } from "../../base/files/file_error.ts";
import { isFloatDtype } from "../../tensor/dtype.ts";
import { gridsPerRow } from "../../tensor/quantization.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { StoredFormat, StoredWeight } from "./format.ts";
import { requireTensor } from "../checkpoint/tensor_source.ts";
import { dequantizeRows, readCodes, readGrids } from "./codes/packed_words.ts";
import { PACK_QUANTIZED } from "./config/quantization_config.ts";
import {
  QUANTIZED_SUFFIXES,
  quantizedNames,
  type QuantizedParts,
  quantizedSpecs,
  unstorableReason,
} from "./codes/packed_layout.ts";
import { gridKindOf, type GridKinds, readGridKinds } from "./config/read_config.ts";

export const PACK_QUANTIZED_FORMAT: StoredFormat = {
  name: PACK_QUANTIZED,
  method: "compressed-tensors",
  format: PACK_QUANTIZED,
  async find(checkpoint) {
    const kinds = readGridKinds(checkpoint.folder, checkpoint.config);
    const stems = new Set(
      [...checkpoint.names()].map(stemOfQuantizedPart).filter((stem) => stem !== undefined),
    );
    const weights: StoredWeight[] = [];
    for (const stem of stems) weights.push(packedWeight(await readQuantizedParts(checkpoint, stem, kinds)));
    return weights;
  },
};

/** Describes a weight in the layout `pack-quantized`, whose rows are dequantised one by one. */
export function packedWeight(parts: QuantizedParts): StoredWeight {
  const { weight, names, dtype, rows, cols } = parts, groups = gridsPerRow(parts, cols);
  return {
    name: weight,
    dtype,
    shape: [rows, cols],
    tensors: [names.packed, names.scale, names.zeroPoint, names.shape],
    sections: rows,
    packed: parts,
    async open(source, first, end) {
      const codes = await readCodes(source, parts, first, end);
      const { scales, zeros } = await readGrids(source, parts, first, end);
      return (row, values) => {
        const grids = [row * groups, (row + 1) * groups] as const;
        const rowGrids = { scales: scales.subarray(...grids), zeros: zeros.subarray(...grids) };
        values.set(dequantizeRows(codes.subarray(row * cols, (row + 1) * cols), rowGrids, parts));
      };
    },
  };
}

/** Suffixes of tensors that change the meaning of the codes. Other versions of the library write such tensors. */
const UNSUPPORTED_SUFFIXES = [".weight_g_idx", ".weight_global_scale"];

/** Returns the name of the weight to which a tensor belongs, without `.weight`. Returns undefined for other tensors. */
export function stemOfQuantizedPart(name: string): string | undefined {
  const suffix = Object.values(QUANTIZED_SUFFIXES).find((ending) => name.endsWith(ending));
  return suffix && name.slice(0, -suffix.length);
}

/**
 * Reads the shape, the dtype and the grid of a quantised weight from its tensors, and checks them.
 * @param stem the name of the weight without `.weight`
 * @param kinds the grids that config.json describes
 * @throws {ModelError} if a tensor is missing, if its dtype or shape is wrong, or if config.json does not describe its grid
 */
async function readQuantizedParts(
  checkpoint: Checkpoint,
  stem: string,
  kinds: GridKinds,
): Promise<QuantizedParts> {
  const { folder } = checkpoint, names = quantizedNames(stem), weight = `${stem}.weight`;
  const unsupported = UNSUPPORTED_SUFFIXES.find((suffix) => checkpoint.has(stem + suffix));
  if (unsupported) throw new ModelError(`${folder}: ${stem}${unsupported} is not supported`);
  const [rows, cols] = await readStoredShape(checkpoint, names.shape);
  const { dtype } = checkpoint.info(names.scale);
  if (!isFloatDtype(dtype)) {
    throw new ModelError(`${folder}: ${names.scale} must be F32, F16 or BF16, not ${dtype}`);
  }
  const { group, bits, groupSize, symmetric } = gridKindOf(folder, stem, kinds);
  if (symmetric && checkpoint.has(names.zeroPoint)) {
    throw new ModelError(`${folder}: has ${names.zeroPoint}, although the weights of ${group} are symmetric`);
  }
  const reason = unstorableReason({ bits, groupSize, symmetric, cols });
  if (reason !== undefined) throw new ModelError(`${folder}: ${weight}: ${reason}`);
  const parts = { weight, names, rows, cols, dtype, bits, groupSize, symmetric };
  for (const spec of quantizedSpecs(stem, parts)) {
    if (spec.name === names.shape) continue; // `readStoredShape` has checked it
    requireTensor(checkpoint, spec.name, spec.dtype, spec.shape);
  }
  return parts;
}

/** Reads the tensor that contains the shape of a weight. Its own shape is [2] or [2, 1], depending on the version of the library. */
async function readStoredShape(checkpoint: Checkpoint, name: string): Promise<number[]> {
  const { folder } = checkpoint, { dtype, shape } = checkpoint.info(name);
  if (dtype !== "I64" || (String(shape) !== "2" && String(shape) !== "2,1")) {
    throw new ModelError(`${folder}: ${name} must be I64 [2] or [2, 1], not ${dtype} [${shape}]`);
  }
  const extents = [...new BigInt64Array((await checkpoint.read(name, 0, 16)).slice().buffer)].map(Number);
  // The product of the extents needs no check. Each extent must agree with the shapes of the other tensors, which are limited by
  // the size of the file.
  if (extents.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) return extents;
  throw new ModelError(`${folder}: ${name} must hold a shape, not [${extents}]`);
}
