/**
 * Describes what `pare shrink` can remove from the models of a family. Every block has the same number of units of a kind, and keeps the same
 * number, so that config.json has one number.
 */

/** The units by kind. A text is the reason why a family cannot lose units, as the end of a sentence. */
export interface FamilyUnits {
  /** The neurons of each feed-forward network. */
  readonly neurons?: NeuronUnits | string;
  /** The query heads. Those that share a key head are removed together with it. */
  readonly heads?: HeadUnits | string;
  /** The settings with the number of experts. Those in config.json are changed, or the first one if it has none. */
  readonly experts?: readonly [string, ...string[]];
  /** The setting that lists the kinds of blocks. Without it, the kind of a block follows from its number, so no block can be removed. */
  readonly blockList?: "layer_types" | "no_rope_layers";
}

/** The layers that become smaller, by their names in a block. */
export interface UnitLayers {
  /** The layer whose inputs belong to the units. It decides which units are removed. */
  readonly reader: string;
  /** The layers whose outputs belong to the units. */
  readonly writers: readonly string[];
  /** The number of parts of a writer's outputs, each of which has all units: 2 if gate and up are one layer. @default 1 */
  readonly parts?: number;
}

export interface NeuronUnits extends UnitLayers {
  /** The setting with the number of neurons. */
  readonly setting: string;
}

export interface HeadUnits {
  /** Whether transformers needs a number of heads that divides the size of the hidden states. @default false */
  readonly dividesHiddenSize?: boolean;
}

export const GATED_NEURONS: NeuronUnits = {
  setting: "intermediate_size",
  reader: "mlp.down_proj",
  writers: ["mlp.gate_proj", "mlp.up_proj"],
};

/** The neurons of a network with one layer that computes gate and up. */
export const FUSED_NEURONS: NeuronUnits = { ...GATED_NEURONS, writers: ["mlp.gate_up_proj"], parts: 2 };

export const NEURONS_OF_EXPERTS = "its neurons belong to experts, which --experts removes";
export const FIXED_HEAD_SIZE = "its configuration has no setting for the size of a head";
export const NORMS_OF_ALL_HEADS = "its norms of queries and keys are over all heads of a token";
