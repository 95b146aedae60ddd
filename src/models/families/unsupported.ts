/**
 * Finds the reason why a model is not supported, so that the error message can give the reason and not only
 * the `model_type`.
 */

/** Reasons, each with keys of config.json. The reason applies if at least one of its keys is set. */
const REASONS_BY_KEY: readonly (readonly [keys: readonly string[], reason: string])[] = [
  [["vision_config", "audio_config", "text_config"], "is multimodal"],
  [
    ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts"],
    "is a mixture of experts",
  ],
];

/** Reasons that apply to every model of a `model_type`. */
const REASONS_BY_TYPE: Readonly<Record<string, string>> = {
  gpt2: "stores its linear layers transposed (Conv1D)",
};

/**
 * Returns why a configuration is not supported, as the predicate of a sentence ("is multimodal"), or
 * undefined if no reason was found.
 */
export function unsupportedReason(config: Readonly<Record<string, unknown>>): string | undefined {
  const { model_type: type } = config;
  if (config.is_encoder_decoder === true) return "is an encoder with a decoder";
  for (const [keys, reason] of REASONS_BY_KEY) if (keys.some((key) => isSet(config[key]))) return reason;
  return typeof type === "string" && Object.hasOwn(REASONS_BY_TYPE, type) ? REASONS_BY_TYPE[type] : undefined;
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null && value !== 0;
}
