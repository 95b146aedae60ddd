/** Describes the network of a model by the keys of GGUF. */

import { configError } from "../families/config/config.ts";
import { blocksOf, type BlockTraits, type ModelSpec } from "../families/family.ts";
import type { RotarySpec } from "../pieces/rotary.ts";
import type { Architecture } from "../families/architecture.ts";
import {
  halfEntries,
  hasWindow,
  linearEntries,
  mambaEntries,
  windowEntries,
  windowsOf,
} from "./block_kinds.ts";
import { bool, f32, type MetadataEntry, text, u32 } from "./container.ts";
import { checkFactors, factorEntries, factorsOf, headScale, temperatureEntries } from "./factors.ts";
import { mixtureEntries } from "./mixture.ts";
import { constantVector, type PlannedTensor } from "./planned_tensor.ts";
import { titleOf } from "./architecture.ts";

/** The length of windows of BLOOM in training, if config.json does not have it. */
const BLOOM_TOKENS = 2048;

/** The divisor of a pair that does not rotate, as llama.cpp's own converter writes it. */
const LARGEST_DIVISOR = 1e30;

export interface NetworkDescription {
  readonly entries: readonly MetadataEntry[];
  /** Tensors that describe the rotation. */
  readonly tensors: readonly PlannedTensor[];
  /** A sentence for the user that says what llama.cpp computes differently from the model. */
  readonly remark?: string;
}

const YARN_REMARK =
  "llama.cpp rounds the bounds of YaRN to whole pairs, which this model does not do. Over 4096 tokens, some pairs of " +
  "the published gpt-oss rotate by up to 0.9 radians more";

/**
 * @param config the object in config.json
 * @throws {ModelError} if llama.cpp cannot compute what the model computes
 */
export function describeNetwork(
  config: Readonly<Record<string, unknown>>,
  spec: ModelSpec,
  architecture: Architecture,
): NetworkDescription {
  const { name, activation: known = "silu" } = architecture, { blockCount, hiddenSize, finalNorm } = spec;
  // The last block of Gemma 4 has no window. In other families, all blocks have the same heads.
  const { traits } = spec.block(blockCount - 1);
  if (!traits || !finalNorm) {
    throw configError(`the model has no blocks that GGUF can describe`);
  }
  // llama.cpp has only an approximation of GELU, which is closer to the exact function than its table in F16.
  const activation = traits.activation === "gelu" ? "gelu_tanh" : traits.activation;
  if (activation !== known) {
    throw configError(`the activation is ${traits.activation}, but ${titleOf(name)} has ${known}`);
  }
  checkSizes(spec, traits, architecture);
  const unsupported = architecture.unsupported?.(spec);
  if (unsupported) {
    throw configError(`${unsupported} is not supported for ${titleOf(name)}`);
  }
  const factors = factorsOf(spec), none = { attentionScale: traits.headDim ** -0.5, residualScale: 1 };
  const used = { ...none, embeddingScale: 1, logitScale: 1, ...architecture.factors?.(factors, spec) };
  checkFactors(factors, used, name);
  const key = (suffix: string) => `${name}.${suffix}`;
  const rotary = describeRotary(spec, traits, architecture), windows = windowsOf(spec, traits);
  const trained = Number.isFinite(spec.maxTokens)
    ? spec.maxTokens
    : Number(config.seq_length ?? BLOOM_TOKENS);
  const limits = architecture.windowPeriod || architecture.listsWindows ? [] : windows.filter(Boolean);
  const ofKind = finalNorm.kind === "rms" ? "layer_norm_rms_epsilon" : "layer_norm_epsilon";
  const epsilons = new Set([ofKind, ...architecture.hasBothEpsilons ? ["layer_norm_epsilon"] : []]);
  return {
    tensors: rotary.tensors,
    remark: rotary.remark,
    entries: [
      [key("block_count"), u32(blockCount)],
      [key("context_length"), u32(Math.min(trained, ...limits))],
      [key("embedding_length"), u32(hiddenSize)],
      [key("attention.head_count"), u32(traits.heads)],
      ...halfEntries(spec, architecture),
      [key("attention.key_length"), u32(traits.headDim)],
      [key("attention.value_length"), u32(traits.latent?.value ?? traits.headDim)],
      ...[...epsilons].map((epsilon) => [key(`attention.${epsilon}`), f32(finalNorm.eps)] as const),
      [key("vocab_size"), u32(spec.vocabSize)],
      ...windowEntries(spec, architecture, windows),
      ...Object.entries(architecture.numbers?.(spec) ?? {}).map(([name, value]) =>
        [key(name), u32(value)] as const
      ),
      ...architecture.mixture ? mixtureEntries(spec, name, architecture.mixture) : [],
      ...latentEntries(name, traits),
      ...linearEntries(spec, architecture),
      ...mambaEntries(spec, architecture),
      ...temperatureEntries(name, traits, architecture.scalesQueries),
      ...(architecture.switches ?? []).map((setting) =>
        [key(setting), bool(config[setting] !== false)] as const
      ),
      ...factorEntries(architecture, factors, traits.headDim),
      ...rotary.entries,
    ],
  };
}

/** @throws {ModelError} if the layers of attention differ from the architecture's, or if norms have different epsilons */
function checkSizes(
  spec: ModelSpec,
  { heads, kvHeads, headDim }: BlockTraits,
  { name, needsSquareAttention }: Architecture,
): void {
  const { hiddenSize, finalNorm } = spec;
  if (needsSquareAttention && (heads !== kvHeads || heads * headDim !== hiddenSize)) {
    throw configError(
      `has ${heads} heads of ${headDim} dimensions and ${kvHeads} key heads, but ${titleOf(name)} ` +
        `needs as many key heads as heads, and ${hiddenSize} dimensions in all heads together`,
    );
  }
  const other = blocksOf(spec).flatMap(({ norms }) => norms).find(({ eps }) => eps !== finalNorm!.eps);
  if (!other) return;
  throw configError(
    `the norm ${other.name} has the epsilon ${other.eps}, but llama.cpp has one epsilon for all norms, ` +
      finalNorm!.eps,
  );
}

function latentEntries(architecture: string, { latent }: BlockTraits): MetadataEntry[] {
  if (!latent) return [];
  return [
    [`${architecture}.attention.q_lora_rank`, u32(latent.queryRank ?? 0)],
    [`${architecture}.attention.kv_lora_rank`, u32(latent.rank)],
  ];
}

function describeRotary(
  spec: ModelSpec,
  traits: BlockTraits,
  architecture: Architecture,
): NetworkDescription {
  const { latent, headDim } = traits, rotary = latent ? () => latent.rotary : traits.rotary;
  if (!rotary) return { entries: [], tensors: [] };
  const { name, rotates, hasRotaryDivisors, hasPartialRotation, windowTheta, hasRotarySections } =
    architecture;
  const windows = windowsOf(spec, traits);
  const isOwn = (index: number) => windowTheta !== undefined && hasWindow(architecture, windows, index);
  const rotations = Array.from({ length: spec.blockCount }, (_, index) => rotary(index));
  if (architecture.hasOptionalRotation && rotations.every((rotation) => rotation === undefined)) {
    return { entries: [[`${name}.rope.scaling.finetuned`, bool(false)]], tensors: [] };
  }
  const common = rotations.find((rotation, index) => rotation !== undefined && !isOwn(index)) ?? rotations[0];
  const own = rotations.find((_, index) => isOwn(index));
  const ownTheta = typeof windowTheta === "number"
    ? windowTheta
    : (windowTheta === "common" ? common : own)?.theta;
  const wrong = rotations.findIndex((rotation, index) =>
    isOwn(index)
      ? rotation?.theta !== ownTheta ||
        divisorsOf(rotation!, Infinity).some((divisor) => divisor !== 1)
      : rotation !== (rotates?.(index) ?? true ? common : undefined)
  );
  if (!common || wrong >= 0) {
    throw configError(`the rotation of block ${wrong} is not one of ${titleOf(name)}`);
  }
  const entries: MetadataEntry[] = [
    [`${name}.rope.dimension_count`, u32(2 * common.pairs)],
    [`${name}.rope.freq_base`, f32(common.theta)],
  ];
  if (windowTheta === "described" && own) {
    entries.push(
      [`${name}.rope.dimension_count_swa`, u32(2 * own.pairs)],
      [`${name}.rope.freq_base_swa`, f32(own.theta)],
    );
  }
  if (2 * common.pairs !== headDim && !hasPartialRotation) {
    throw configError(`a part of each head rotates, which ${titleOf(name)} cannot do`);
  }
  if (hasRotarySections) {
    const sections = [2, 1, 0].map((more) => Math.floor((common.pairs + more) / 3));
    entries.push([`${name}.rope.dimension_sections`, { type: "i32", value: [...sections, 0] }]);
  }
  const { scale } = common, scaling = `${name}.rope.scaling`;
  const yarn = common.yarn?.roundsBounds || architecture.allowsUnroundedYarn ? common.yarn : undefined;
  if (yarn && latent) entries.push(latentYarnEntry(spec, yarn.factor, scale, name));
  // With YaRN, llama.cpp multiplies the factor in the file by this one.
  const attentionFactor = yarn && !latent ? scale / (1 + 0.1 * Math.log(yarn.factor)) : scale;
  if (attentionFactor !== 1) entries.push([`${scaling}.attn_factor`, f32(attentionFactor)]);
  if (yarn) {
    entries.push(
      [`${scaling}.type`, text("yarn")],
      [`${scaling}.factor`, f32(yarn.factor)],
      [`${scaling}.original_context_length`, u32(yarn.trainedTokens)],
    );
    return { entries, tensors: [], remark: yarn.roundsBounds ? undefined : YARN_REMARK };
  }
  const [short, long] = [1, Infinity].map((tokens) => divisorsOf(common, tokens));
  if (common.trainedTokens !== undefined) {
    if (name !== "phi3" || !long.every(Number.isFinite)) {
      throw configError(
        `a rotation that depends on the length of the text is not supported for ${titleOf(name)}`,
      );
    }
    return {
      entries: [
        ...entries,
        [`${scaling}.original_context_length`, u32(common.trainedTokens)],
      ],
      tensors: [
        constantVector("rope_factors_long.weight", long),
        constantVector("rope_factors_short.weight", short),
      ],
    };
  }
  if (hasRotaryDivisors !== "always" && short.every((divisor) => divisor === short[0])) {
    if (short[0] === 1) return { entries, tensors: [] };
    const linear: MetadataEntry[] = [
      [`${scaling}.type`, text("linear")],
      [`${scaling}.factor`, f32(short[0])],
    ];
    return { entries: [...entries, ...linear], tensors: [] };
  }
  if (!hasRotaryDivisors) {
    throw configError(`the scaling of the rotation is not supported for ${titleOf(name)}`);
  }
  // Pairs that do not rotate have infinite divisors.
  const finite = short.map((divisor) => Math.min(divisor, LARGEST_DIVISOR));
  return { entries, tensors: [constantVector("rope_freqs.weight", finite)] };
}

/**
 * Returns the entry of the factor of scores of latent attention with YaRN, which is (1 + entry · ln(factor))². llama.cpp multiplies queries
 * and keys by no factor of their own.
 * @throws {ModelError} if the model does, or if scores have no factor
 */
function latentYarnEntry(
  spec: ModelSpec,
  factor: number,
  scale: number,
  architecture: string,
): MetadataEntry {
  const { headDim } = spec.block(0).traits!, { attentionScale } = factorsOf(spec);
  const multiplier = (Math.sqrt(attentionScale / headScale(headDim)) - 1) / Math.log(factor);
  if (scale !== 1 || !(multiplier > 0)) {
    throw configError(`YaRN needs mscale equal to mscale_all_dim and positive for ${titleOf(architecture)}`);
  }
  return [`${architecture}.rope.scaling.yarn_log_multiplier`, f32(multiplier)];
}

/** Returns the numbers by which the frequencies without scaling are divided. */
function divisorsOf({ theta, pairs, frequencies }: RotarySpec, tokens: number): Float32Array {
  return Float32Array.from(frequencies(tokens), (frequency, i) => theta ** (-i / pairs) / frequency);
}
