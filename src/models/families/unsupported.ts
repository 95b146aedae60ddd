/** Names what in a configuration no family here covers, so that the refusal says more than a `model_type`. */

/** Keys of a configuration, and what any of them means where it is set. */
const TELLING_KEYS: readonly (readonly [keys: readonly string[], reason: string])[] = [
  [["vision_config", "audio_config", "text_config"], "is multimodal"],
  [
    ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts"],
    "is a mixture of experts",
  ],
];

/** Types whose own keys tell nothing. */
const TELLING_TYPES: Readonly<Record<string, string>> = {
  gpt2: "stores its linear layers transposed (Conv1D)",
};

/** Why a model cannot be read, as the predicate of a sentence; undefined where nothing speaks against it. */
export function whyUnsupported(config: Readonly<Record<string, unknown>>): string | undefined {
  const { model_type: type } = config;
  if (config.is_encoder_decoder === true) return "is an encoder with a decoder";
  for (const [keys, reason] of TELLING_KEYS) if (keys.some((key) => isSet(config[key]))) return reason;
  return typeof type === "string" && Object.hasOwn(TELLING_TYPES, type) ? TELLING_TYPES[type] : undefined;
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null && value !== 0;
}
