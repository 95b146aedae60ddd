/**
 * Reads the rotary settings of a configuration by the rules of transformers (`modeling_rope_utils`). Older versions of transformers write
 * `rope_theta` and `rope_scaling`; version 5 writes one object `rope_parameters`. Both forms are read.
 */

import { z } from "zod";
import { ModelError } from "../../files/model_error.ts";
import type { RotarySpec } from "../pieces/rotary.ts";
import { positive } from "./config.ts";

const number = z.number().positive();

const ropeObject = z.object({
  rope_type: z.string().optional(),
  /** The older name of `rope_type`. */
  type: z.string().optional(),
  rope_theta: number.optional(),
  partial_rotary_factor: number.max(1).optional(),
  factor: number.nullish(),
  original_max_position_embeddings: positive.nullish(),
  low_freq_factor: number.optional(),
  high_freq_factor: number.optional(),
  short_factor: z.array(number).optional(),
  long_factor: z.array(number).optional(),
  attention_factor: number.nullish(),
});

/** The rotary settings. The schemas of families include them. */
export const rotaryShape = {
  max_position_embeddings: positive,
  original_max_position_embeddings: positive.nullish(),
  rope_theta: number.nullish(),
  rope_scaling: ropeObject.nullish(),
  rope_parameters: ropeObject.nullish(),
  partial_rotary_factor: number.max(1).nullish(),
};

type RotaryConfig = z.infer<z.ZodObject<typeof rotaryShape>>;
type RopeObject = z.infer<typeof ropeObject>;

/** The default of transformers for every family here. */
const DEFAULT_THETA = 10000;

/** The supported kinds. Each function computes the frequencies of its kind. */
const KINDS = { default: plain, linear, llama3, longrope, su: longrope } as const;

/**
 * Returns the rotation of heads of `headDim` dimensions.
 * @throws {ModelError} if the kind is not supported, or if one of its settings is missing
 */
export function readRotary(config: RotaryConfig, headDim: number): RotarySpec {
  const rope = config.rope_scaling ?? config.rope_parameters ?? {};
  const kind = rope.rope_type ?? rope.type ?? "default";
  if (!Object.hasOwn(KINDS, kind)) {
    const kinds = Object.keys(KINDS).join(", ");
    throw new ModelError(`config.json: rope_type ${kind} is not supported; supported are: ${kinds}`);
  }
  const theta = config.rope_parameters?.rope_theta ?? config.rope_theta ?? rope.rope_theta ?? DEFAULT_THETA;
  const part = config.partial_rotary_factor ?? config.rope_parameters?.partial_rotary_factor ?? 1;
  const turned = Math.floor(headDim * part);
  if (turned === 0 || turned % 2 !== 0) {
    throw new ModelError(
      `config.json: ${turned} of a head's ${headDim} dimensions rotate, but the number must be even`,
    );
  }
  const pairs = turned / 2;
  const base = Float64Array.from({ length: pairs }, (_, i) => theta ** (-i / pairs));
  return KINDS[kind as keyof typeof KINDS]({ base, rope, config });
}

interface Setting {
  /** Radians per token for each pair, before scaling. */
  readonly base: Float64Array;
  readonly rope: RopeObject;
  readonly config: RotaryConfig;
}

function plain({ base }: Setting): RotarySpec {
  return { pairs: base.length, scale: 1, frequencies: () => base };
}

function linear({ base, rope, config }: Setting): RotarySpec {
  const factor = needed(rope, "factor");
  return plain({ base: base.map((frequency) => frequency / factor), rope, config });
}

/** Scales slow pairs as `linear` does, leaves fast pairs unchanged, and interpolates between them. */
function llama3({ base, rope, config }: Setting): RotarySpec {
  const factor = needed(rope, "factor");
  const low = needed(rope, "low_freq_factor"), high = needed(rope, "high_freq_factor");
  const trained = needed(rope, "original_max_position_embeddings");
  const scaled = base.map((frequency) => {
    const turns = trained * frequency / (2 * Math.PI);
    const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return kept * frequency + (1 - kept) * frequency / factor;
  });
  return plain({ base: scaled, rope, config });
}

/** LongRoPE (Ding et al., arXiv 2402.13753): one divisor per pair, with one set for windows up to the trained length and one for longer windows. */
function longrope({ base, rope, config }: Setting): RotarySpec {
  const { max_position_embeddings: longest } = config;
  const given = rope.original_max_position_embeddings ?? config.original_max_position_embeddings;
  const trained = given ?? longest;
  const factor = given ? longest / given : rope.factor ?? 1;
  const scale = rope.attention_factor ??
    (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(trained)));
  const [short, long] = (["short_factor", "long_factor"] as const).map((name) => {
    const divisors = needed(rope, name);
    if (divisors.length !== base.length) {
      throw new ModelError(`config.json: ${name} has ${divisors.length} factors, needs ${base.length}`);
    }
    return base.map((frequency, i) => frequency / divisors[i]);
  });
  return { pairs: base.length, scale, frequencies: (tokens) => tokens > trained ? long : short };
}

function needed<K extends keyof RopeObject>(rope: RopeObject, name: K): NonNullable<RopeObject[K]> {
  const value = rope[name];
  if (value === undefined || value === null) {
    throw new ModelError(`config.json: rope_type ${rope.rope_type ?? rope.type} needs ${name}`);
  }
  return value;
}
