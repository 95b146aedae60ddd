/**
 * A LLaMA-like block: attention with grouped heads and rotary positions, and then, or in parallel, a feed-forward
 * network. Both halves add their outputs to the hidden states.
 */

import type { DeviceBuffer } from "../../../device/backend.ts";
import { attend } from "../../pieces/attention.ts";
import type { Activation, BlockPass } from "../../pieces/block_pass.ts";
import { allColumns, type ColumnsView } from "../../pieces/columns_view.ts";
import { copyColumns } from "../../pieces/columns.ts";
import { applyGate, applyGroup } from "../../pieces/linear.ts";
import { normalize } from "../../pieces/norm.ts";
import { accumulateGroup, scaleStream } from "../../pieces/residual.ts";
import { type RotarySpec, rotate } from "../../pieces/rotary.ts";
import { vectorOnDevice } from "../../pieces/vector.ts";
import type { BlockSpec, BlockTraits } from "../family.ts";
import type { LinearGroup, NormSpec, VectorSpec } from "../../layer_specs.ts";
import {
  type AttentionLayers,
  type LinearAttention,
  type LlamaSizes,
  sharedViews,
} from "./attention_layers.ts";
import type { FeedForward } from "./feed_forward.ts";

/** The norms of a half of a block: of its inputs, and of its outputs. */
export interface NormsOfHalf {
  readonly before?: NormSpec;
  readonly after?: NormSpec;
}

/**
 * The parts of which a block consists. `BlockTraits` and `LlamaTraits` describe those that have the same names. A block may lack one of its
 * halves.
 */
export interface BlockParts
  extends Pick<BlockTraits, "window" | "queryScale" | "scale" | "softCap" | "residualScale"> {
  readonly sizes: LlamaSizes;
  readonly activation: Activation;
  readonly attention?: AttentionLayers | LinearAttention;
  readonly feedForward?: FeedForward;
  readonly attentionNorms: NormsOfHalf;
  readonly feedForwardNorms: NormsOfHalf;
  /** Whether both halves have the inputs of attention. */
  readonly isParallel: boolean;
  /** If the keys are those of another block, only queries have a norm. */
  readonly queryKeyNorms?: readonly [q: NormSpec, k?: NormSpec, v?: NormSpec];
  /** Whether these norms come after the rotation, and only if there is one. */
  readonly normsRotated: boolean;
  rotary(index: number): RotarySpec | undefined;
  readonly isChunked?: boolean;
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

/** Returns the block. @param root the part of its names before `layers.` */
export function llamaBlock(parts: BlockParts, root: string): BlockSpec {
  const { attention, feedForward, attentionNorms, feedForwardNorms, queryKeyNorms = [], outputScale } = parts;
  const { tokenLayers } = parts, tokenGroups = tokenLayers ? [tokenLayers.gate, tokenLayers.projection] : [];
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
    prefix: (block) => `${root}layers.${block}.`,
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
      ...parts,
      ...parts.sizes,
      mixture: feedForward?.mixture,
      latent: attention && "latent" in attention ? attention.latent : undefined,
      linear: isLinear ? attention.sizes : undefined,
      mamba: isLinear ? attention.mamba : undefined,
      taps: isLinear ? attention.taps : undefined,
    },
    forward(pass, x, index) {
      const scale = parts.residualScale, attentionInput = inputOf(pass, attentionNorms, x);
      if (attention) {
        const attended = isLinear
          ? attention.attend(pass, attentionInput)
          : attendInBlock(parts, attention, pass, attentionInput, index);
        accumulateGroup(pass, attention.out, attended, x, { norm: attentionNorms.after, scale });
      }
      const input = parts.isParallel ? attentionInput : inputOf(pass, feedForwardNorms, x);
      const applied = feedForward?.apply(pass, input, x, { norm: feedForwardNorms.after, scale });
      if (!tokenLayers && !outputScale) return applied;
      return Promise.resolve(applied).then(() => {
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

/** Returns the inputs of a half of a block, which are the normalised hidden states or the hidden states themselves. */
function inputOf(pass: BlockPass, { before }: NormsOfHalf, x: DeviceBuffer): DeviceBuffer {
  return before ? normalize(pass, before, x) : x;
}

/** Queues the attention of block `index` without its last layer. Returns the inputs of this layer, (rows, inFeatures) f32. */
function attendInBlock(
  parts: BlockParts,
  attention: AttentionLayers,
  pass: BlockPass,
  x: DeviceBuffer,
  index: number,
): DeviceBuffer {
  const { sizes: { heads, kvHeads, headDim, sharedKeys }, queryKeyNorms, normsRotated, scale, softCap } =
    parts;
  const { isChunked } = parts, readsKeys = sharedKeys?.isSource === false;
  const rotary = parts.rotary(index), tokenScale = parts.queryScale?.(index);
  const rotaryOfQueries = tokenScale ? scaledRotary(rotary ?? noRotation(headDim), tokenScale) : rotary;
  const { gate, ...projected } = attention.projectQkv(pass, x);
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
  if (rotaryOfQueries) rotate(pass, rotaryOfQueries, q, heads, headDim);
  if (rotary && !readsKeys) rotate(pass, rotary, k, kvHeads, headDim);
  if (queryKeyNorms && normsRotated && rotary) normalizeHeads(queryKeyNorms);
  if (sharedKeys?.isSource) {
    const places = sharedViews(pass, parts.sizes);
    copyColumns(pass, pass.rows, kvHeads * headDim, k, [places.k]);
    copyColumns(pass, pass.rows, kvHeads * headDim, v, [places.v]);
  }
  const sinks = parts.sinks && vectorOnDevice(pass, parts.sinks), window = parts.window?.(index);
  const attended = attend(pass, {
    q,
    k,
    v,
    heads,
    kvHeads,
    headDim,
    window,
    isChunked,
    scale,
    softCap,
    sinks,
  });
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
