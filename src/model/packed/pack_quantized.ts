/** The layout `pack-quantized`, for dense checkpoints whose layers were rounded. `pare prune` writes it too. */

import { floatsToBytes } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { GridOptions } from "../../tensor/quantization.ts";
import { makeQuantizedConfig, PACK_QUANTIZED } from "../formats/config/quantization_config.ts";
import { quantizedSpecs } from "../formats/codes/packed_layout.ts";
import { namedTensors, packWeight } from "../formats/codes/pack_weight.ts";
import type { SymmetricGrid } from "./exact_codes.ts";
import type { PackedLayout } from "./packed_layout.ts";

const symmetric = (grid: SymmetricGrid): GridOptions => ({ ...grid, symmetric: true });

export const PACK_QUANTIZED_LAYOUT: PackedLayout = {
  name: PACK_QUANTIZED,
  options: `--format ${PACK_QUANTIZED} --bits 4`,
  misfit: ({ dtype }) =>
    dtype === "F32"
      ? undefined
      : `is in ${dtype}, but only weights in F32 are exact products of codes and scales`,
  specs: (weight, grid) => quantizedSpecs(weight.stem, { ...weight, ...symmetric(grid) }),
  pack({ rows, cols, stem, dtype }, grid, { codes, scales }) {
    const groups = cols / grid.groupSize, zeros = new Float32Array(rows * groups).fill(2 ** (grid.bits - 1));
    const float32 = (values: Float32Array<ArrayBuffer>): HostTensor => (
      { dtype: "F32", shape: [rows, groups], data: floatsToBytes(values, "F32") }
    );
    const quantized = {
      codes: { dtype: "U8", shape: [rows, cols], data: codes },
      scales: float32(scales),
      zeros: float32(zeros),
    } as const;
    return namedTensors(stem, packWeight(quantized, symmetric(grid), dtype).tensors);
  },
  config: (config, weights, grid, ignore) =>
    makeQuantizedConfig(config, weights.map(({ module }) => ({ module, grid: symmetric(grid) })), ignore),
};
