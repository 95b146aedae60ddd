/** Arcee (Arcee AI 2025) has LLaMA's block with a feed-forward network without a gate, whose activation is the square of ReLU. */

import { z } from "zod";
import { LLAMA } from "../architecture.ts";
import { activationName, epsilon, flag } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";

export const arcee = llamaFamily(
  "arcee",
  z.object({
    ...llamaShape,
    hidden_act: activationName.default("relu2"),
    rms_norm_eps: epsilon.default(1e-5),
    attention_bias: flag,
    mlp_bias: flag,
  }),
  ({ attention_bias: bias, mlp_bias }) => ({
    biases: { qkv: bias, out: bias },
    network: { layers: { up: "up_proj", down: "down_proj" }, bias: mlp_bias },
  }),
  {
    gguf: { ...LLAMA, name: "arcee", activation: "relu2", biases: [] },
    units: {
      neurons: { setting: "intermediate_size", reader: "mlp.down_proj", writers: ["mlp.up_proj"] },
      heads: { dividesHiddenSize: true },
    },
  },
);
