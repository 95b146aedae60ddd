/**
 * A transformer block: attention, and then, or in parallel, a feed-forward network. Both halves add their outputs to the
 * hidden states.
 */

import type { DeviceBuffer } from "../../../device/backend.ts";
import { alibiSlopes, attend } from "../../pieces/attention.ts";
import type { Activation, BlockPass } from "../../pieces/block_pass.ts";
import { allColumns, type ColumnsView } from "../../pieces/columns_view.ts";
import { copyColumns } from "../../pieces/columns.ts";
import { applyGate, applyGroup } from "../../pieces/linear.ts";
import { normalize, normalizeInPlace } from "../../pieces/norm.ts";
import { accumulateGroup, type ResidualOptions, scaleStream } from "../../pieces/residual.ts";
import { type RotarySpec, rotate } from "../../pieces/rotary.ts";
import { vectorOnDevice } from "../../pieces/vector.ts";
import type { BlockSpec } from "../family.ts";
import type { LinearGroup, NormSpec, VectorSpec } from "../../layer_specs.ts";
import {
  type AttentionLayers,
  type LinearAttention,
  type LlamaSizes,
  sharedViews,
} from "./attention_layers.ts";
import type { FeedForward } from "./feed_forward.ts";
import type { LlamaTraits } from "./llama_traits.ts";

/** The norms of a half of a block: of its inputs, and of its outputs. With `normalizesStream`, both change the hidden states. */
export interface NormsOfHalf {
  readonly before?: NormSpec;
  readonly after?: NormSpec;
}

/** The parts of which a block consists. A block may lack one of its halves. */
export interface BlockParts {
  /** The traits of the family. The pass reads the traits for which there is no part below. */
  readonly traits: LlamaTraits;
  readonly sizes: LlamaSizes;
  readonly activation: Activation;
  readonly attention?: AttentionLayers | LinearAttention;
  readonly feedForward?: FeedForward;
  readonly attentionNorms: NormsOfHalf;
  readonly feedForwardNorms: NormsOfHalf;
  /** Whether the feed-forward network does not wait for attention. Without a norm of its own, it has the inputs of attention. Defaults to false. */
  readonly isParallel?: boolean;
  /** If the block uses the keys of another block, only its queries have a norm. */
  readonly queryKeyNorms?: readonly [q: NormSpec, k?: NormSpec, v?: NormSpec];
  /** As in `BlockTraits`. */
  rotary?(index: number): RotarySpec | undefined;
  /** The scores of the sinks of attention, one per head. */
  readonly sinks?: VectorSpec;
  /**
   * The layers after both halves, which add norm(projection(activation(gate(x)) · `pass.tokenInputs`)) to the hidden states x. In a block
   * that has them, the feed-forward network has no experts.
   */
  readonly tokenLayers?: {
    readonly gate: LinearGroup;
    readonly projection: LinearGroup;
    readonly norm: NormSpec;
  };
  /** The factor of the outputs of the block, which is one number. */
  readonly outputScale?: VectorSpec;
}

/** Returns the block. @param blocks the part of its names before its number */
export function llamaBlock(parts: BlockParts, blocks: string): BlockSpec {
  const { attention, feedForward, attentionNorms, feedForwardNorms, queryKeyNorms = [], outputScale } = parts;
  const { tokenLayers, traits, traits: { normalizesStream } } = parts;
  const tokenGroups = tokenLayers ? [tokenLayers.gate, tokenLayers.projection] : [];
  const { hidden } = parts.sizes, isLinear = attention !== undefined && "attend" in attention;
  const norms = [
    attentionNorms.before,
    attentionNorms.after,
    feedForwardNorms.before,
    feedForwardNorms.after,
    ...queryKeyNorms,
    ...attention?.norms ?? [],
    ...feedForward?.norms ?? [],
    tokenLayers?.norm,
  ];
  return {
    prefix: (block) => `${blocks}${block}.`,
    norms: norms.filter((norm) => norm !== undefined),
    groups: [
      ...attention ? [...attention.inputs, attention.out] : [],
      ...feedForward?.groups ?? [],
      ...tokenGroups,
    ],
    denseLayers: feedForward?.denseLayers,
    vectors: [
      ...parts.sinks ? [parts.sinks] : [],
      ...isLinear ? attention.vectors : [],
      ...feedForward?.vectors ?? [],
      ...outputScale ? [outputScale] : [],
    ],
    furtherActivations: [
      ...attention?.activations ?? [],
      ...tokenLayers ? [tokenLayers.gate[0].outFeatures] : [],
      ...outputScale ? [hidden] : [],
    ],
    traits: {
      ...traits,
      ...parts.sizes,
      activation: parts.activation,
      rotary: parts.rotary,
      mixture: feedForward?.mixture,
      ...attention?.traits,
    },
    forward(pass, x, index) {
      const attentionInput = inputOf(pass, parts, attentionNorms, x) ?? x;
      // The inputs of a parallel network are computed before attention changes the hidden states.
      const parallelInput = parts.isParallel
        ? inputOf(pass, parts, feedForwardNorms, x) ?? attentionInput
        : undefined;
      if (attention) {
        const attended = isLinear
          ? attention.attend(pass, attentionInput)
          : attendInBlock(parts, attention, pass, attentionInput, index);
        accumulateGroup(pass, attention.out, attended, x, outputOptions(parts, attentionNorms));
        if (normalizesStream && attentionNorms.after) normalizeInPlace(pass, attentionNorms.after, x);
      }
      const input = parallelInput ?? inputOf(pass, parts, feedForwardNorms, x) ?? x;
      const applied = feedForward?.apply(pass, input, x, outputOptions(parts, feedForwardNorms));
      if (!tokenLayers && !outputScale && !normalizesStream) return applied;
      return Promise.resolve(applied).then(() => {
        if (normalizesStream && feedForwardNorms.after) normalizeInPlace(pass, feedForwardNorms.after, x);
        if (tokenLayers) applyTokenLayers(pass, parts, tokenLayers, x);
        if (outputScale) scaleStream(pass, x, hidden, pass.weights.vector(outputScale)[0]);
      });
    },
  };
}

/** Queues the layers that read the inputs of tokens. */
function applyTokenLayers(
  pass: BlockPass,
  { activation }: BlockParts,
  { gate, projection, norm }: NonNullable<BlockParts["tokenLayers"]>,
  x: DeviceBuffer,
): void {
  if (!pass.tokenInputs) throw new TypeError("block: the pass has no inputs of tokens");
  const [gates] = applyGroup(pass, gate, x), size = gate[0].outFeatures;
  const views = [gates, pass.tokenInputs].map((buffer) => allColumns(buffer, size));
  accumulateGroup(pass, projection, applyGate(pass, views[0], views[1], size, activation), x, { norm });
}

/** Returns the normalised hidden states, or undefined if a half of a block has no norm of its inputs. */
function inputOf(
  pass: BlockPass,
  { traits: { normalizesStream } }: BlockParts,
  { before }: NormsOfHalf,
  x: DeviceBuffer,
): DeviceBuffer | undefined {
  if (!before || !normalizesStream) return before && normalize(pass, before, x);
  normalizeInPlace(pass, before, x);
  return x;
}

/** Returns how the outputs of a half of a block are added to the hidden states. */
function outputOptions(
  { traits: { normalizesStream, residualScale: scale } }: BlockParts,
  { after }: NormsOfHalf,
): ResidualOptions {
  return { norm: normalizesStream ? undefined : after, scale };
}

/** Queues the attention of block `index` without its last layer. Returns the inputs of this layer, (rows, inFeatures) f32. */
function attendInBlock(
  parts: BlockParts,
  attention: AttentionLayers,
  pass: BlockPass,
  x: DeviceBuffer,
  index: number,
): DeviceBuffer {
  const { sizes: { heads, kvHeads, headDim, sharedKeys }, queryKeyNorms, traits } = parts;
  const { isChunked, softCap } = traits, normsRotated = traits.queryKeyNorm === "rotated";
  const readsKeys = sharedKeys?.isSource === false;
  const rotary = parts.rotary?.(index), tokenScale = traits.queryScale?.(index);
  const rotaryOfQueries = tokenScale ? scaledRotary(rotary ?? noRotation(headDim), tokenScale) : rotary;
  const { gate, headStride = headDim, ...projected } = attention.projectQkv(pass, x);
  let { q, k, v } = projected;
  const normalizeHeads = ([qNorm, kNorm, vNorm]: readonly [NormSpec, NormSpec?, NormSpec?]) => {
    const normalized = (norm: NormSpec, view: ColumnsView, headCount: number) => (
      { ...view, buffer: normalize(pass, norm, view.buffer, pass.rows * headCount * headDim / norm.size) }
    );
    q = normalized(qNorm, q, heads);
    if (vNorm) v = normalized(vNorm, v, kvHeads);
    if (kNorm) k = normalized(kNorm, k, kvHeads);
  };
  if (queryKeyNorms && !normsRotated) normalizeHeads(queryKeyNorms);
  if (rotaryOfQueries) rotate(pass, rotaryOfQueries, q, heads, headStride);
  if (rotary && !readsKeys) rotate(pass, rotary, k, kvHeads, headStride);
  if (queryKeyNorms && normsRotated && rotary) normalizeHeads(queryKeyNorms);
  if (sharedKeys?.isSource) {
    const places = sharedViews(pass, parts.sizes);
    copyColumns(pass, pass.rows, kvHeads * headDim, k, [places.k]);
    copyColumns(pass, pass.rows, kvHeads * headDim, v, [places.v]);
  }
  const sinks = parts.sinks && vectorOnDevice(pass, parts.sinks), window = traits.window?.(index);
  const slopes = traits.hasSlopes
    ? pass.workspace.constant("slopes", heads, () => alibiSlopes(heads))
    : undefined;
  const scale = (traits.scale ?? 1 / Math.sqrt(headDim)) / (traits.attentionDivisor?.(index) ?? 1);
  const limits = { window, isChunked, scale, softCap, sinks, slopes };
  const attended = attend(pass, { q, k, v, heads, kvHeads, headDim, headStride, ...limits });
  if (gate) {
    return applyGate(
      { ...pass, rows: pass.rows * heads },
      gate,
      allColumns(attended, headDim),
      headDim,
      "sigmoid",
    );
  }
  return attention.outputs?.(pass, attended) ?? attended;
}

/** Returns the rotation that also multiplies each token by `tokenScale`. */
function scaledRotary(rotary: RotarySpec, tokenScale: RotarySpec["tokenScale"]): RotarySpec {
  return { ...rotary, name: `${rotary.name ?? ""} of queries`, tokenScale };
}

/** Returns the rotation of whole heads by no angle. */
function noRotation(headDim: number): RotarySpec {
  const pairs = headDim / 2;
  return { name: "by no angle", pairs, theta: 1, scale: 1, frequencies: () => new Float64Array(pairs) };
}
