/** Granite 3 with a mixture of experts (IBM 2024) has Granite's block and factors. */

import { z } from "zod";
import { ATTENTION, GATE_AND_UP, graniteFactors, NORMS_BEFORE } from "../architecture.ts";
import { positiveInt } from "../config/config.ts";
import { graniteShape, graniteTraits } from "../dense/granite.ts";
import { llamaFamily } from "../llama/llama_model.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";

export const graniteMoe = llamaFamily(
  "granitemoe",
  z.object({
    ...graniteShape,
    num_local_experts: positiveInt.default(8),
    num_experts_per_tok: positiveInt.default(2),
  }),
  (config) => ({
    ...graniteTraits(config),
    ...mixtureTraits(config, {
      name: "block_sparse_moe",
      router: "router.layer",
      layers: { gate: "input_linear", down: "output_linear" },
      experts: config.num_local_experts,
    }),
  }),
  {
    experts: "all",
    gguf: {
      name: "granitemoe",
      layers: {
        ...ATTENTION,
        ...NORMS_BEFORE,
        "block_sparse_moe.router.layer": "ffn_gate_inp",
        "block_sparse_moe.experts.output_linear": "ffn_down_exps",
      },
      splitLayers: { "block_sparse_moe.experts.input_linear": { places: GATE_AND_UP, rows: "halves" } },
      rowOrder: "rotary",
      mixture: { isNormalized: true },
      factors: graniteFactors,
    },
  },
);
