/**
 * Reads the settings of rotary position embeddings from config.json, by the rules of transformers (`modeling_rope_utils`). Older versions
 * of transformers write `rope_theta` and `rope_scaling`. Version 5 writes one object `rope_parameters`. Both forms are read.
 */

import { z } from "zod";
import { stopAtFault } from "../../../base/stop_at_fault.ts";
import { shortened } from "../../../base/texts.ts";
import type { RotarySpec } from "../../pieces/rotary.ts";
import { checkHeadDimension, configError, positiveInt } from "./config.ts";

const number = z.number().positive(), theta = number.gt(1);

export const ropeObject = z.object({
  rope_type: z.string().optional(),
  /** The older name of `rope_type`. */
  type: z.string().optional(),
  rope_theta: theta.optional(),
  partial_rotary_factor: number.max(1).optional(),
  factor: number.nullish(),
  original_max_position_embeddings: positiveInt.nullish(),
  low_freq_factor: number.optional(),
  high_freq_factor: number.optional(),
  short_factor: stopAtFault(z.array(number)).optional(),
  long_factor: stopAtFault(z.array(number)).optional(),
  attention_factor: number.nullish(),
  beta_fast: number.nullish(),
  beta_slow: number.nullish(),
  mscale: z.number().nullish(),
  mscale_all_dim: z.number().nullish(),
  truncate: z.boolean().optional(),
});

/** The rotary settings in config.json. The schema of a family includes them. */
export const rotaryShape = {
  max_position_embeddings: positiveInt,
  original_max_position_embeddings: positiveInt.nullish(),
  rope_theta: theta.nullish(),
  rope_scaling: ropeObject.nullish(),
  rope_parameters: ropeObject.nullish(),
  partial_rotary_factor: number.max(1).nullish(),
};

type RotaryConfig = z.infer<z.ZodObject<typeof rotaryShape>>;
type RopeObject = z.infer<typeof ropeObject>;

/** The default of `rope_theta` in transformers. Families with another default set it in their schema. */
const DEFAULT_THETA = 10000;

/** The supported values of `rope_type`. Each function computes the rotation for one of them. */
const ROPE_TYPES = {
  default: unscaled,
  // Multimodal models have three positions per token, which are equal in a text.
  mrope: unscaled,
  linear,
  dynamic,
  yarn,
  llama3,
  longrope,
  su: longrope,
  proportional,
} as const;

/**
 * Returns the rotation of heads of `headDim` dimensions.
 * @param canBePartial whether the family can rotate a part of each head only
 * @throws {ModelError} if heads of that size, the `rope_type` or a partial rotation is not supported, or if a setting is missing
 */
export function readRotary(config: RotaryConfig, headDim: number, canBePartial: boolean): RotarySpec {
  // Checked first, because there is one frequency for every two dimensions.
  checkHeadDimension(headDim);
  const rope = ropeOf(config), ropeType = typeOf(rope);
  if (!Object.hasOwn(ROPE_TYPES, ropeType)) {
    const supported = Object.keys(ROPE_TYPES).join(", ");
    throw configError(
      `rope_type ${shortened(ropeType)} is not supported; the supported types are: ${supported}`,
    );
  }
  const theta = rope.rope_theta ?? config.rope_theta ?? DEFAULT_THETA;
  const rotatedShare = rope.partial_rotary_factor ?? config.partial_rotary_factor ?? 1;
  const isProportional = ropeType === "proportional";
  // In the other families, transformers ignores the factor or fails, depending on the rope_type.
  if (rotatedShare !== 1 && !canBePartial && !isProportional) {
    throw configError(
      `partial_rotary_factor ${rotatedShare} is not supported for this model_type, must be 1`,
    );
  }
  const rotatedDims = isProportional ? headDim : Math.floor(headDim * rotatedShare);
  if (rotatedDims === 0 || rotatedDims % 2 !== 0) {
    throw configError(
      `${rotatedDims} of the ${headDim} dimensions of a head rotate, but the number must be even and positive`,
    );
  }
  const pairs = rotatedDims / 2;
  const base = Float64Array.from({ length: pairs }, (_, i) => theta ** (-i / pairs));
  return ROPE_TYPES[ropeType as keyof typeof ROPE_TYPES]({ theta, base, rope, config });
}

/**
 * Returns the number of tokens of the longest window. Dynamic scaling is for windows up to `factor` times as long as those in training, if
 * the factor is larger than 1.
 */
export function longestWindow(config: RotaryConfig): number {
  const rope = ropeOf(config);
  if (typeOf(rope) !== "dynamic") return config.max_position_embeddings;
  return Math.floor(config.max_position_embeddings * Math.max(1, requiredSetting(rope, "factor")));
}

/** The rotary settings of a family whose blocks with a sliding window have a rotation of their own. */
export const twoRotationsShape = {
  ...rotaryShape,
  /** Versions of transformers before 5 write `rope_scaling`, which holds for the blocks without a window only. */
  rope_parameters: z.object({ full_attention: ropeObject.nullish(), sliding_attention: ropeObject.nullish() })
    .nullish(),
};

type TwoRotationsConfig = z.infer<z.ZodObject<typeof twoRotationsShape>>;

/**
 * Returns the rotation of the blocks without a window (`full`) and of those with one (`sliding`).
 * @param thetas the bases of their frequencies, unless `rope_parameters` has others
 * @param fullHeadDim the dimensions of a head of the blocks without a window. Defaults to `headDim`
 */
export function readTwoRotations(
  { rope_parameters: parameters, rope_scaling, ...config }: TwoRotationsConfig,
  headDim: number,
  thetas: { readonly full: number; readonly sliding: number },
  fullHeadDim = headDim,
): { readonly full: RotarySpec; readonly sliding: RotarySpec } {
  const read = (rope_parameters: RopeObject, dims: number) =>
    readRotary({ ...config, rope_parameters }, dims, false);
  const full = read({ rope_theta: thetas.full, ...parameters?.full_attention, ...rope_scaling }, fullHeadDim);
  const sliding = read({ rope_theta: thetas.sliding, ...parameters?.sliding_attention }, headDim);
  return { full, sliding: { ...sliding, name: "sliding" } };
}

/**
 * Returns the factor by which DeepSeek multiplies both queries and keys. If the rotation is scaled, it grows with the setting
 * `mscale_all_dim`.
 * @throws {ModelError} if there is this setting, but no `factor`
 */
export function attentionMscale(config: RotaryConfig): number {
  const rope = ropeOf(config), { mscale_all_dim: share } = rope;
  return typeOf(rope) === "default" || !share ? 1 : mscaleOf(requiredSetting(rope, "factor"), share);
}

/** Returns the factor of YaRN that makes up for frequencies that are divided by `factor`. */
function mscaleOf(factor: number, share = 1): number {
  return factor <= 1 ? 1 : 0.1 * share * Math.log(factor) + 1;
}

/** Returns the settings of the rotation. As in transformers, an empty object counts as missing. */
function ropeOf({ rope_scaling: older, rope_parameters: rope }: RotaryConfig): RopeObject {
  return older && Object.keys(older).length > 0 ? older : rope ?? {};
}

function typeOf(rope: RopeObject): string {
  return rope.rope_type ?? rope.type ?? "default";
}

interface RotarySettings {
  readonly theta: number;
  /** The angle by which each pair of dimensions rotates per token, in radians, before scaling. */
  readonly base: Float64Array;
  readonly rope: RopeObject;
  readonly config: RotaryConfig;
}

function unscaled({ theta, base }: RotarySettings): RotarySpec {
  return { pairs: base.length, theta, scale: 1, frequencies: () => base };
}

/** Divides all frequencies by one factor. */
function linear(settings: RotarySettings): RotarySpec {
  const factor = requiredSetting(settings.rope, "factor");
  return unscaled({ ...settings, base: settings.base.map((frequency) => frequency / factor) });
}

/** Rotates only the share `partial_rotary_factor` of the pairs, the fastest ones. They have the same frequencies as in heads that rotate whole. */
function proportional(settings: RotarySettings): RotarySpec {
  const { base, rope, config } = settings, factor = rope.factor ?? 1;
  const share = rope.partial_rotary_factor ?? config.partial_rotary_factor ?? 1;
  const rotated = Math.floor(base.length * share);
  return unscaled({ ...settings, base: base.map((frequency, i) => i < rotated ? frequency / factor : 0) });
}

/**
 * Dynamic scaling, which raises theta for windows that are longer than those in training. In a window that is n times as long, the slowest
 * pair rotates 1 + factor · (n − 1) times slower.
 */
function dynamic({ theta, base, rope, config }: RotarySettings): RotarySpec {
  const factor = requiredSetting(rope, "factor"), trainedTokens = config.max_position_embeddings;
  const pairs = base.length, exponent = pairs / (pairs - 1);
  return {
    pairs,
    theta,
    scale: 1,
    trainedTokens,
    frequencies(tokens) {
      if (tokens <= trainedTokens || pairs === 1) return base;
      const growth = factor * tokens / trainedTokens - (factor - 1);
      return base.map((frequency, i) => frequency * growth ** (-i * exponent / pairs));
    },
  };
}

/** The bounds of YaRN by default, in rotations per window of training. */
const FAST = 32, SLOW = 1;

/**
 * YaRN (Peng et al., arXiv 2309.00071). Pairs that rotate more than `beta_fast` times in a window of training keep their frequencies, those
 * that rotate less than `beta_slow` times are divided by `factor`, and the pairs in between are interpolated by their index.
 */
function yarn(settings: RotarySettings): RotarySpec {
  const { theta, base, rope, config } = settings, trainedTokens = trainedLength(rope, config);
  const factor = rope.factor ?? config.max_position_embeddings / trainedTokens, last = 2 * base.length - 1;
  const indexOf = (rotations: number) =>
    base.length * Math.log(trainedTokens / (2 * Math.PI * rotations)) / Math.log(theta);
  const betaFast = rope.beta_fast ?? FAST, betaSlow = rope.beta_slow ?? SLOW;
  const [fast, slow] = [betaFast, betaSlow].map(indexOf);
  const { truncate = true, mscale, mscale_all_dim: ofAll } = rope;
  const low = Math.max(0, truncate ? Math.floor(fast) : fast);
  const high = Math.min(last, truncate ? Math.ceil(slow) : slow);
  const width = high === low ? 0.001 : high - low;
  const scaled = base.map((frequency, i) => {
    const scaledShare = Math.min(1, Math.max(0, (i - low) / width));
    return scaledShare * frequency / factor + (1 - scaledShare) * frequency;
  });
  const scale = rope.attention_factor ??
    (mscale && ofAll ? mscaleOf(factor, mscale) / mscaleOf(factor, ofAll) : mscaleOf(factor));
  const spec = { ...unscaled({ ...settings, base: scaled }), scale };
  return betaFast === FAST && betaSlow === SLOW
    ? { ...spec, yarn: { factor, trainedTokens, roundsBounds: truncate } }
    : spec;
}

/**
 * Divides the frequencies of slow pairs by `factor`, leaves the frequencies of fast pairs unchanged, and interpolates for the pairs in
 * between. There are none in between if `high_freq_factor` is not larger than `low_freq_factor`.
 */
function llama3(settings: RotarySettings): RotarySpec {
  const { base, rope, config } = settings, factor = requiredSetting(rope, "factor");
  const low = requiredSetting(rope, "low_freq_factor"), high = requiredSetting(rope, "high_freq_factor");
  const trainedTokens = trainedLength(rope, config);
  const scaled = base.map((frequency) => {
    const rotations = trainedTokens * frequency / (2 * Math.PI);
    const unscaledShare = high <= low
      ? Number(rotations >= low)
      : Math.min(1, Math.max(0, (rotations - low) / (high - low)));
    return unscaledShare * frequency + (1 - unscaledShare) * frequency / factor;
  });
  return unscaled({ ...settings, base: scaled });
}

/**
 * LongRoPE (Ding et al., arXiv 2402.13753). Each pair has its own divisor. There is one list of divisors for
 * windows that are no longer than the windows in training, and another list for longer windows.
 */
function longrope({ theta, base, rope, config }: RotarySettings): RotarySpec {
  const trainedTokens = trainedLength(rope, config);
  const factor = rope.factor ?? config.max_position_embeddings / trainedTokens;
  const scale = rope.attention_factor ??
    (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(trainedTokens)));
  const [short, long] = (["short_factor", "long_factor"] as const).map((name) => {
    const divisors = requiredSetting(rope, name);
    if (divisors.length !== base.length) {
      throw configError(`${name} has ${divisors.length} factors, but ${base.length} are needed`);
    }
    return base.map((frequency, i) => frequency / divisors[i]);
  });
  return {
    pairs: base.length,
    theta,
    scale,
    trainedTokens,
    frequencies: (tokens) => tokens > trainedTokens ? long : short,
  };
}

/** Returns the number of tokens of the windows in training. */
function trainedLength(rope: RopeObject, config: RotaryConfig): number {
  return config.original_max_position_embeddings ?? rope.original_max_position_embeddings ??
    config.max_position_embeddings;
}

function requiredSetting<K extends keyof RopeObject>(rope: RopeObject, name: K): NonNullable<RopeObject[K]> {
  const value = rope[name];
  if (value === undefined || value === null) {
    throw configError(`rope_type ${rope.rope_type ?? rope.type} needs ${name}`);
  }
  return value;
}
