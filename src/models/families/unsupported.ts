/** Finds the reason why no family supports a configuration, so that the error says more than the `model_type`. */

/** Keys of a configuration, and the reason that any of them gives if it is set. */
const REASONS_BY_KEY: readonly (readonly [keys: readonly string[], reason: string])[] = [
  [["vision_config", "audio_config", "text_config"], "is multimodal"],
  [
    ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts"],
    "is a mixture of experts",
  ],
];

/** Types that are not supported for a reason that their keys do not show. */
const REASONS_BY_TYPE: Readonly<Record<string, string>> = {
  gpt2: "stores its linear layers transposed (Conv1D)",
};

/** Returns the reason as the predicate of a sentence, or undefined if none is known. */
export function whyUnsupported(config: Readonly<Record<string, unknown>>): string | undefined {
  const { model_type: type } = config;
  if (config.is_encoder_decoder === true) return "is an encoder with a decoder";
  for (const [keys, reason] of REASONS_BY_KEY) if (keys.some((key) => isSet(config[key]))) return reason;
  return typeof type === "string" && Object.hasOwn(REASONS_BY_TYPE, type) ? REASONS_BY_TYPE[type] : undefined;
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null && value !== 0;
}
