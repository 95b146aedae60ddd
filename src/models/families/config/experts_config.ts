/** Checks the settings and the layout of a mixture of experts, which several families have. */

import { ModelError } from "../../../files/model_error.ts";

/** The largest number of experts, which routing stores in 16 bits. */
const MAX_EXPERTS = 65_535;

/**
 * Checks the number of experts, and that each expert has tensors of its own.
 * @throws {ModelError} if a token would go to more experts than there are, or if the checkpoint has one tensor
 * for all experts of a block
 */
export function checkExperts(experts: number, expertsPerToken: number, has: (name: string) => boolean): void {
  if (expertsPerToken > experts || experts > MAX_EXPERTS) {
    throw new ModelError(
      `config.json: num_experts_per_tok ${expertsPerToken} with ${experts} experts is not supported; the limits ` +
        `are the number of experts and ${MAX_EXPERTS} experts`,
    );
  }
  const fused = ["model.layers.0.mlp.experts.gate_up_proj", "layers.0.mlp.experts.gate_up_proj"].find(has);
  if (fused === undefined) return;
  throw new ModelError(
    `tensor ${fused}: has the weights of all experts, which is not supported. save_pretrained() of transformers ` +
      "writes one tensor per expert, unless save_original_format is False",
  );
}
