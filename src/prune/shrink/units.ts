/** The units that `pare shrink` removes from a model, which its family declares (`Family.units`). */

import type { ModelError } from "../../base/files/file_error.ts";
import { configError } from "../../model/families/config/config.ts";
import { FAMILIES } from "../../model/families/families.ts";
import { blocksOf, type ModelSpec } from "../../model/families/family.ts";
import type { FamilyUnits, HeadUnits, NeuronUnits, UnitLayers } from "../../model/families/units.ts";
import { linearLayers, type SizedLayer } from "../block_plan.ts";

type Config = Readonly<Record<string, unknown>>;

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

function neuronsOf({ setting, ...layers }: NeuronUnits, spec: ModelSpec): Units {
  return {
    count: linearLayers(spec).find(({ linear }) => linear.name === layers.reader)!.cols,
    together: 1,
    layers,
    settings: (kept) => ({ [setting]: kept }),
  };
}

/** Query heads that share a key head are removed together with it. */
function headsOf(
  { dividesHiddenSize = false }: HeadUnits,
  { hiddenSize, block }: ModelSpec,
  config: Config,
): Units {
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
          }, ` +
            `because hidden_size ${hiddenSize} is not a multiple of ${kept}; the numbers that can remain of ` +
            `${heads} heads are: ${allowed.join(", ") || "none"}`,
        );
      }
      return {
        num_attention_heads: kept,
        num_key_value_heads: kept / together,
        head_dim: headDim,
      };
    },
  };
}

function expertsOf(names: readonly [string, ...string[]], { block }: ModelSpec, config: Config): Units {
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
}

/** The kinds of units: the option of `pare shrink` with the share of units to remove, and its description. */
export const UNITS = {
  neurons: {
    option: "ffn",
    description: "share of the neurons of each feed-forward network to remove",
  },
  heads: {
    option: "heads",
    description: "share of the heads of attention to remove, with the keys and values that only they use",
  },
  experts: { option: "experts", description: "share of the experts of each mixture to remove" },
} as const;

export type UnitKind = keyof typeof UNITS;

export const UNIT_KINDS = Object.keys(UNITS) as UnitKind[];

/** The options with the shares of units to remove. */
export type ShareOptions = { readonly [Kind in UnitKind as (typeof UNITS)[Kind]["option"]]: number };

/** The number of units that each block keeps, by kind. A kind that is missing loses none. */
export type KeptUnits = Readonly<Partial<Record<UnitKind, number>>>;

/** @throws {ModelError} naming the type of the model, and the types that can lose units of this kind */
export function readUnits(kind: UnitKind, config: Config, spec: ModelSpec): Units {
  const { neurons, heads, experts } = unitsOf(config) ?? {};
  if (kind === "neurons" && typeof neurons === "object") return neuronsOf(neurons, spec);
  if (kind === "heads" && typeof heads === "object") return headsOf(heads, spec, config);
  if (kind === "experts" && experts) return expertsOf(experts, spec, config);
  const reason = { neurons, heads, experts }[kind];
  throw refusal(config, `cannot lose ${kind}${reason ? `, because ${reason}` : ""}`, [kind]);
}

/** Returns what the family of a model can lose. */
export function unitsOf({ model_type: type }: Config): FamilyUnits | undefined {
  return FAMILIES.find(({ modelType }) => modelType === type)?.units;
}

/** @throws {ModelError} if no units of the family can be removed, and therefore no blocks either, or if its blocks differ in their layers */
export function requireShrinkable(config: Config, spec: ModelSpec): void {
  if (!canLose(unitsOf(config), UNIT_KINDS)) throw refusal(config, "cannot be shrunk", UNIT_KINDS);
  if (new Set(blocksOf(spec)).size > 1) {
    throw configError("a model in which some blocks have no experts cannot be shrunk");
  }
}

/** Returns whether a family can lose units of one of the kinds. */
function canLose(units: FamilyUnits | undefined, kinds: readonly UnitKind[]): boolean {
  return kinds.some((kind) => typeof units?.[kind] === "object");
}

function refusal({ model_type: type }: Config, problem: string, kinds: readonly UnitKind[]): ModelError {
  const types = FAMILIES.filter(({ units }) => canLose(units, kinds)).map(({ modelType }) => modelType);
  return configError(
    `a model of model_type ${JSON.stringify(type)} ${problem}; the types that can are: ${types.join(", ")}`,
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
