/** The layout `pack-quantized` as a format of stored weights. `layout.ts` describes its tensors. */

import { gridsPerRow } from "../../../tensor/quantization.ts";
import type { StoredFormat, StoredWeight } from "../stored/stored_format.ts";
import { dequantizeRows } from "./codes.ts";
import { PACK_QUANTIZED } from "./config.ts";
import { type QuantizedParts, readQuantizedParts, stemOfQuantizedPart } from "./quantized_parts.ts";
import { readCodes, readGrids } from "./read_codes.ts";
import { readGridKinds } from "./read_config.ts";

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
