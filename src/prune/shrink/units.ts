/**
 * The units that `pare shrink` removes. Every block has the same number of units of a kind, and keeps the same number,
 * so that config.json has one number. To add a kind, add an entry to `UNITS`.
 */

import type { ModelError } from "../../base/files/file_error.ts";
import { configError } from "../../model/families/config/config.ts";
import { blocksOf, type ModelSpec } from "../../model/families/family.ts";
import { linearLayers, type SizedLayer } from "../block_plan.ts";

type Config = Readonly<Record<string, unknown>>;

/** The layers that become smaller, by their names in a block. */
interface UnitLayers {
  /** The layer whose inputs belong to the units. It decides which units are removed. */
  readonly reader: string;
  /** The layers whose outputs belong to the units. */
  readonly writers: readonly string[];
  /** The number of parts of a writer's outputs, each of which has all units: 2 if gate and up are one layer. @default 1 */
  readonly parts?: number;
}

/** The units of one kind in a model. */
export interface Units {
  /** The number in each block. */
  readonly count: number;
  /** The number of neighbouring units that are removed together. */
  readonly together: number;
  /** Undefined if a unit consists of whole layers, as an expert does. */
  readonly layers?: UnitLayers;
  /** Returns the settings of config.json if `kept` units remain. @throws {ModelError} if the family does not allow that many */
  settings(kept: number): Config;
}

interface UnitDeclaration {
  /** The option of `pare shrink` with the share of units to remove, and its description. */
  readonly option: string;
  readonly description: string;
  /** The functions that read the units of a model, by `model_type`. */
  readonly families: Readonly<Record<string, (config: Config, spec: ModelSpec) => Units>>;
  /** The reasons why a family is missing, as the end of a sentence. */
  readonly reasons: Readonly<Record<string, string>>;
}

function neuronsOf(setting: string, layers: UnitLayers) {
  return (_config: Config, spec: ModelSpec): Units => ({
    count: linearLayers(spec).find(({ linear }) => linear.name === layers.reader)!.cols,
    together: 1,
    layers,
    settings: (kept) => ({ [setting]: kept }),
  });
}

/** Query heads that share a key head are removed together with it. */
function headsOf({ dividesHiddenSize = false } = {}) {
  return (config: Config, { hiddenSize, block }: ModelSpec): Units => {
    const { heads, kvHeads, headDim } = block(0).traits!, together = heads / kvHeads;
    return {
      count: heads,
      together,
      layers: {
        reader: "self_attn.o_proj",
        writers: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
      },
      settings(kept) {
        if (dividesHiddenSize && hiddenSize % kept !== 0) {
          const allowed = Array.from({ length: kvHeads - 1 }, (_, i) => (i + 1) * together)
            .filter((count) => hiddenSize % count === 0);
          throw configError(
            `transformers refuses ${kept} heads in a model of model_type ${
              JSON.stringify(config.model_type)
            }, because ` +
              `hidden_size ${hiddenSize} is not a multiple of ${kept}; the numbers that can remain of ${heads} heads are: ` +
              (allowed.join(", ") || "none"),
          );
        }
        return {
          num_attention_heads: kept,
          num_key_value_heads: kept / together,
          head_dim: headDim,
        };
      },
    };
  };
}

/** @param names the settings with the number of experts. Those in config.json are changed, or the first if it has none */
function expertsOf(...names: [string, ...string[]]) {
  return (config: Config, { block }: ModelSpec): Units => {
    const { experts, expertsPerToken } = block(0).traits!.mixture!;
    const present = names.filter((name) => typeof config[name] === "number");
    return {
      count: experts,
      together: 1,
      settings(kept) {
        if (kept < expertsPerToken) {
          throw configError(
            `num_experts_per_tok is ${expertsPerToken}, so ${kept} of ${experts} experts are too few`,
          );
        }
        return Object.fromEntries((present.length > 0 ? present : [names[0]]).map((name) => [name, kept]));
      },
    };
  };
}

const INTERMEDIATE = "intermediate_size";
const GATED = neuronsOf(INTERMEDIATE, { reader: "mlp.down_proj", writers: ["mlp.gate_proj", "mlp.up_proj"] });
const FUSED_GATE = neuronsOf(INTERMEDIATE, {
  reader: "mlp.down_proj",
  writers: ["mlp.gate_up_proj"],
  parts: 2,
});

/** The layers of a feed-forward network without a gate. */
function ungated(setting: string, writer: string, reader: string) {
  return neuronsOf(setting, { reader, writers: [writer] });
}

/** Returns one entry for each type of model. */
function forTypes<Value>(value: Value, types: string): Readonly<Record<string, Value>> {
  return Object.fromEntries(types.split(" ").map((type) => [type, value]));
}

const NEURONS_OF_EXPERTS = "its neurons belong to experts, which --experts removes";
const FIXED_HEAD_SIZE = "its configuration has no setting for the size of a head";
const NORMS_OF_ALL_HEADS = "its norms of queries and keys are over all heads of a token";

export const UNITS = {
  neurons: {
    option: "ffn",
    description: "share of the neurons of each feed-forward network to remove",
    families: {
      opt: ungated("ffn_dim", "fc1", "fc2"),
      gpt_neox: ungated(INTERMEDIATE, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
      falcon: ungated("ffn_hidden_size", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
      phi: ungated(INTERMEDIATE, "mlp.fc1", "mlp.fc2"),
      starcoder2: ungated(INTERMEDIATE, "mlp.c_fc", "mlp.c_proj"),
      ...forTypes(
        GATED,
        "llama mistral ministral3 qwen2 qwen3 gemma gemma2 gemma3_text olmo2 olmo3 granite smollm3 seed_oss " +
          "ernie4_5 exaone4 cohere2",
      ),
      ...forTypes(FUSED_GATE, "phi3 glm4"),
    },
    reasons: {
      gpt2: "its weights are stored transposed",
      bloom: "its feed-forward networks always have 4 · hidden_size neurons",
      mixtral: NEURONS_OF_EXPERTS,
      qwen3_moe: NEURONS_OF_EXPERTS,
      olmoe: NEURONS_OF_EXPERTS,
    },
  },
  heads: {
    option: "heads",
    description: "share of the heads of attention to remove, with the keys and values that only they use",
    families: {
      ...forTypes(headsOf({ dividesHiddenSize: true }), "llama gemma2 gemma3_text"),
      ...forTypes(headsOf(), "mistral ministral3 qwen3 gemma seed_oss ernie4_5 mixtral qwen3_moe"),
    },
    reasons: {
      opt: FIXED_HEAD_SIZE,
      bloom: FIXED_HEAD_SIZE,
      qwen2: FIXED_HEAD_SIZE,
      olmo2: NORMS_OF_ALL_HEADS,
      olmo3: NORMS_OF_ALL_HEADS,
      olmoe: NORMS_OF_ALL_HEADS,
    },
  },
  experts: {
    option: "experts",
    description: "share of the experts of each mixture to remove",
    families: {
      mixtral: expertsOf("num_local_experts"),
      qwen3_moe: expertsOf("num_experts", "num_local_experts"),
      olmoe: expertsOf("num_experts"),
    },
    reasons: {},
  },
} as const satisfies Readonly<Record<string, UnitDeclaration>>;

export type UnitKind = keyof typeof UNITS;

export const UNIT_KINDS = Object.keys(UNITS) as UnitKind[];

/** The options with the shares of units to remove. */
export type ShareOptions = { readonly [Kind in UnitKind as (typeof UNITS)[Kind]["option"]]: number };

/** The number of units that each block keeps, by kind. A kind that is missing loses none. */
export type KeptUnits = Readonly<Partial<Record<UnitKind, number>>>;

/** @throws {ModelError} naming the type of the model, and the types that can lose units of this kind */
export function readUnits(kind: UnitKind, config: Config, spec: ModelSpec): Units {
  const { families, reasons }: UnitDeclaration = UNITS[kind], type = String(config.model_type);
  if (Object.hasOwn(families, type)) return families[type](config, spec);
  const reason = Object.hasOwn(reasons, type) ? `, because ${reasons[type]}` : "";
  throw refusal(config, `cannot lose ${kind}${reason}`, Object.keys(families));
}

/** @throws {ModelError} if no units of the family can be removed, and therefore no blocks either, or if its blocks differ in their layers */
export function requireShrinkable(config: Config, spec: ModelSpec): void {
  const types = new Set(UNIT_KINDS.flatMap((kind) => Object.keys(UNITS[kind].families)));
  if (!types.has(String(config.model_type))) throw refusal(config, "cannot be shrunk", types);
  if (new Set(blocksOf(spec)).size > 1) {
    throw configError("a model in which some blocks have no experts cannot be shrunk");
  }
}

function refusal({ model_type: type }: Config, problem: string, types: Iterable<string>): ModelError {
  return configError(
    `a model of model_type ${JSON.stringify(type)} ${problem}; the types that can are: ${
      [...types].join(", ")
    }`,
  );
}

/**
 * Returns the number of units that remain if the share `share` is removed. It is rounded to a multiple of `multiple`,
 * and never 0.
 * @throws {RangeError} naming the option, if rounding lets no unit be removed
 * @throws {ModelError} if the family does not allow the number
 */
export function countKept(kind: UnitKind, units: Units, share: number, multiple: number): number {
  const { count, settings } = units;
  const kept = multiple * Math.max(1, Math.round((1 - share) * count / multiple));
  if (kept >= count) {
    throw new RangeError(
      `option --${
        UNITS[kind].option
      } ${share}: removes none of ${count} ${kind}, because the number that remains is ` +
        `rounded to ${kept}, a multiple of ${multiple}; give a larger share` +
        (kind === "neurons" ? " or a smaller --multiple" : ""),
    );
  }
  settings(kept); // throws if the family does not allow this number
  return kept;
}

/** Returns the settings of config.json with fewer units. */
export function keptSettings(kept: KeptUnits, config: Config, spec: ModelSpec): Config {
  return Object.assign({}, ...entriesOf(kept).map(([kind, n]) => readUnits(kind, config, spec).settings(n)));
}

/** A layer whose inputs belong to units, some of which are removed. */
export interface ReadingLayer extends SizedLayer {
  /** The number of columns that are removed together, and the share of columns that is removed. */
  readonly group: number;
  readonly share: number;
  /** The names of the layers of the block whose outputs are removed, and the number of parts of these outputs. */
  readonly writers: readonly string[];
  readonly parts: number;
}

/** Lists the layers of which a solver removes columns, in the order of the forward pass. */
export function readingLayers(kept: KeptUnits, config: Config, spec: ModelSpec): ReadingLayer[] {
  const all = entriesOf(kept).map(([kind, n]) => ({ ...readUnits(kind, config, spec), kept: n }));
  return linearLayers(spec).flatMap((layer) => {
    const units = all.find(({ layers }) => layers?.reader === layer.linear.name);
    if (!units) return [];
    const { count, together, layers, kept } = units;
    const group = layer.cols * together / count;
    const { writers, parts = 1 } = layers!;
    return [{ ...layer, group, share: 1 - kept / count, writers, parts }];
  });
}

function entriesOf(kept: KeptUnits): [UnitKind, number][] {
  return Object.entries(kept) as [UnitKind, number][];
}
