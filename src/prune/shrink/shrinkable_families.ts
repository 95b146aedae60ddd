/** The families of models that can be shrunk: their feed-forward layers, and their settings for the new sizes. */

import { ModelError } from "../../base/files/file_error.ts";

type Config = Readonly<Record<string, unknown>>;

/** The layers of a feed-forward network, by their names in a block. */
export interface FeedForwardNames {
  /** The setting in config.json with the number of neurons. */
  readonly setting: string;
  /** The layer that reads the neurons. */
  readonly reader: string;
  /** The layers whose outputs are the neurons. */
  readonly writers: readonly string[];
}

const GATED: FeedForwardNames = {
  setting: "intermediate_size",
  reader: "mlp.down_proj",
  writers: ["mlp.gate_proj", "mlp.up_proj"],
};

const FEED_FORWARDS: Readonly<Record<string, FeedForwardNames>> = {
  opt: { setting: "ffn_dim", reader: "fc2", writers: ["fc1"] },
  llama: GATED,
  mistral: GATED,
  qwen2: GATED,
  qwen3: GATED,
};

/** The reasons why a family is missing, as the end of a sentence. */
const REASONS: Readonly<Record<string, string>> = {
  bloom: ", because its feed-forward networks always have 4 · hidden_size neurons",
};

/** @throws {ModelError} naming the type of the model, and the types that can be shrunk */
export function feedForwardNames({ model_type: type }: Config): FeedForwardNames {
  const name = String(type);
  if (Object.hasOwn(FEED_FORWARDS, name)) return FEED_FORWARDS[name];
  const reason = Object.hasOwn(REASONS, name) ? REASONS[name] : "";
  throw new ModelError(
    `config.json: a model of model_type ${
      JSON.stringify(type)
    } cannot be shrunk${reason}; the types that can be shrunk are: ${Object.keys(FEED_FORWARDS).join(", ")}`,
  );
}

/** Returns the configuration without some blocks. The types of attention in Qwen's blocks move with the blocks. */
export function configWithoutBlocks(config: Config, dropped: ReadonlySet<number>): Config {
  if (dropped.size === 0) return config;
  const { num_hidden_layers: blocks, layer_types: types, max_window_layers: first } = config;
  return {
    ...config,
    num_hidden_layers: Number(blocks) - dropped.size,
    ...Array.isArray(types) && { layer_types: types.filter((_, block) => !dropped.has(block)) },
    // All blocks from this one on have a sliding window.
    ...typeof first === "number" &&
      { max_window_layers: first - [...dropped].filter((block) => block < first).length },
  };
}
