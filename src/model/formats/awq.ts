/**
 * The format `awq` of AutoAWQ, which Pare reads. `codes/column_codes.ts` describes its tensors. The source is
 * `utils/packing_utils.py` in github.com/casper-hansen/AutoAWQ. vLLM defines the order of the codes of 8 bits.
 */

import { columnWeights } from "./codes/column_codes.ts";
import { unsupportedMember } from "./config/quantization_config.ts";
import type { Format } from "./format.ts";

export const AWQ: Format = {
  name: "awq",
  method: "awq",
  find(checkpoint, description) {
    const { folder } = checkpoint, format = description.version ?? description.format ?? "gemm";
    if (String(format).toLowerCase() !== "gemm") throw unsupportedMember(folder, "version", "gemm", format);
    if (description.backend === "llm-awq") {
      throw unsupportedMember(folder, "backend", "one that reads the version gemm", description.backend);
    }
    return columnWeights(checkpoint, description, {
      packedAxis: "outputs",
      order: (bits) => bits === 4 ? [0, 4, 1, 5, 2, 6, 3, 7] : [0, 2, 1, 3],
      storesZerosMinusOne: false,
    });
  },
};
