/**
 * Reads a configuration's rotary settings, by transformers' rules (`modeling_rope_utils`). Before its version 5 they are
 * `rope_theta` and `rope_scaling`, from then on one object `rope_parameters`; both are understood.
 */

import { z } from "zod";
import { ModelError } from "../../files/model_error.ts";
import type { RotarySpec } from "../pieces/rotary.ts";
import { positive } from "./config.ts";

const number = z.number().positive();

const ropeObject = z.object({
  rope_type: z.string().optional(),
  /** What older configurations call `rope_type`. */
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

/** The settings, to be spread into a family's schema. */
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

/** transformers' own in every family here. */
const DEFAULT_THETA = 10000;

/** The kinds there are; each maps plain frequencies to its own. */
const KINDS = { default: plain, linear, llama3, longrope, su: longrope } as const;

/**
 * How heads of `headDim` are turned.
 * @throws {ModelError} the kind is not supported, or a setting of it is missing
 */
export function readRotary(config: RotaryConfig, headDim: number): RotarySpec {
  const rope = config.rope_scaling ?? config.rope_parameters ?? {};
  const kind = rope.rope_type ?? rope.type ?? "default";
  if (!Object.hasOwn(KINDS, kind)) {
    const kinds = Object.keys(KINDS).join(", ");
    throw new ModelError(`config.json: rope_type ${kind} is not supported; these are: ${kinds}`);
  }
  const theta = config.rope_parameters?.rope_theta ?? config.rope_theta ?? rope.rope_theta ?? DEFAULT_THETA;
  const part = config.partial_rotary_factor ?? config.rope_parameters?.partial_rotary_factor ?? 1;
  const turned = Math.floor(headDim * part);
  if (turned === 0 || turned % 2 !== 0) {
    throw new ModelError(
      `config.json: ${turned} of a head's ${headDim} dimensions rotate, which are no pairs`,
    );
  }
  const pairs = turned / 2;
  const base = Float64Array.from({ length: pairs }, (_, i) => theta ** (-i / pairs));
  return KINDS[kind as keyof typeof KINDS]({ base, rope, config });
}

interface Setting {
  /** Radians a token by pair, before scaling. */
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

/** Slow pairs as `linear`, fast ones as they are, and a transition between. */
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

/** LongRoPE (Ding et al., arXiv 2402.13753): a divisor a pair, one set up to the trained length and one past it. */
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
