/** The cases of the kernels of a model's forward pass. */

import { ACTIVATION_CODE, biasActivate, gatedMultiply, softCap } from "../../kernels/forward/activate.ts";
import { attention } from "../../kernels/forward/attention.ts";
import { crossEntropy } from "../../kernels/forward/cross_entropy.ts";
import { layerNorm, rmsNorm } from "../../kernels/forward/normalize.ts";
import { rotary } from "../../kernels/forward/rotary.ts";
import { addRows, gatherRows } from "../../kernels/forward/rows.ts";
import { defineCase, type KernelCase, sumRoundings } from "../kernel_case.ts";
import { below, filled, permutation, positive, signed, words } from "../values.ts";

/**
 * The roundings of an expression with exp or tanh. WGSL allows exp an error of 3 + 2·|x| units in the last place. Where the
 * arguments are large, the results are small compared with the largest element.
 */
const EXPONENTIAL = 16;

/** The ranges of the activation functions' arguments: where they are curved, and where they are flat or straight. */
const RANGES = [3, 30];

/** Makes a case for each activation function and each range of its arguments. */
function onBothRanges(make: (name: string, activation: number, range: number) => KernelCase): KernelCase[] {
  return RANGES.flatMap((range) =>
    Object.entries(ACTIVATION_CODE).map(([name, code]) => make(name, code, range))
  );
}

/** Returns `count` random floats between −range and range. */
function spread(count: number, seed: number, range: number): Float32Array<ArrayBuffer> {
  return signed(count, seed).map((value) => range * value);
}

interface AttentionSize {
  readonly feature: string;
  readonly batch: number;
  readonly tokens: number;
  readonly past: number;
  readonly heads: number;
  readonly kv_heads: number;
  readonly head_dim: number;
  readonly window: number;
  readonly soft_cap: number;
  readonly hasSlopes: boolean;
}

const ATTENTION: readonly AttentionSize[] = [
  {
    feature: "shared keys",
    batch: 2,
    tokens: 70,
    past: 0,
    heads: 4,
    kv_heads: 2,
    head_dim: 20,
    window: 0,
    soft_cap: 0,
    hasSlopes: false,
  },
  {
    feature: "ALiBi",
    batch: 1,
    tokens: 130,
    past: 0,
    heads: 2,
    kv_heads: 2,
    head_dim: 64,
    window: 0,
    soft_cap: 0,
    hasSlopes: true,
  },
  {
    feature: "sliding window",
    batch: 1,
    tokens: 150,
    past: 0,
    heads: 2,
    kv_heads: 1,
    head_dim: 33,
    window: 37,
    soft_cap: 0,
    hasSlopes: false,
  },
  {
    feature: "wide heads",
    batch: 1,
    tokens: 131,
    past: 0,
    heads: 2,
    kv_heads: 1,
    head_dim: 100,
    window: 0,
    soft_cap: 0,
    hasSlopes: false,
  },
  {
    feature: "soft cap",
    batch: 1,
    tokens: 33,
    past: 0,
    heads: 1,
    kv_heads: 1,
    head_dim: 256,
    window: 0,
    soft_cap: 2,
    hasSlopes: false,
  },
  {
    feature: "earlier tokens",
    batch: 2,
    tokens: 3,
    past: 68,
    heads: 2,
    kv_heads: 1,
    head_dim: 20,
    window: 0,
    soft_cap: 0,
    hasSlopes: false,
  },
];

function attentionCase({ feature, hasSlopes, ...size }: AttentionSize): KernelCase {
  const { batch, tokens, past, heads, kv_heads, head_dim } = size,
    rows = batch * tokens,
    keys = batch * (past + tokens),
    head_stride = head_dim + 1;
  const ldq = heads * head_stride + 5,
    ldk = kv_heads * head_stride + 4,
    ldv = ldk + 3,
    ldo = heads * head_dim + 6;
  return defineCase(attention, {
    feature,
    params: {
      ...size,
      head_stride,
      q_offset: 3,
      ldq,
      k_offset: 2,
      ldk,
      v_offset: 1,
      ldv,
      ldo,
      scale: 2 / Math.sqrt(head_dim),
    },
    buffers: () => ({
      q: signed(3 + rows * ldq, 401).map((value) => 2 * value),
      k: signed(2 + keys * ldk, 402).map((value) => 2 * value),
      v: signed(1 + keys * ldv, 403),
      slopes: filled(heads, 0).map((_, head) => hasSlopes ? 2 ** -(2 + 3 * head) : 0),
      out: filled(rows * ldo),
    }),
    roundings: { out: EXPONENTIAL + sumRoundings(past + tokens) + sumRoundings(head_dim) },
  });
}

export const FORWARD_CASES: readonly KernelCase[] = [
  defineCase(layerNorm, {
    params: { rows: 7, cols: 777, eps: 0.25 },
    buffers: () => ({
      x: positive(7 * 777 + 5, 410),
      weight: positive(777, 411),
      bias: signed(777, 412),
      y: filled(7 * 777 + 5),
    }),
    roundings: { y: sumRoundings(777) },
  }),
  defineCase(layerNorm, {
    feature: "large mean",
    params: { rows: 2, cols: 777, eps: 0.25 },
    buffers: () => ({
      x: positive(2 * 777, 442).map((value) => 1000 + value),
      weight: positive(777, 411),
      bias: signed(777, 412),
      y: filled(2 * 777),
    }),
    roundings: { y: sumRoundings(777) },
  }),
  defineCase(rmsNorm, {
    params: { rows: 7, cols: 777, eps: 0.25 },
    buffers: () => ({ x: signed(7 * 777 + 5, 413), weight: positive(777, 414), y: filled(7 * 777 + 5) }),
    roundings: { y: sumRoundings(777) },
  }),
  ...[1, 0].map((has_bias) =>
    defineCase(biasActivate, {
      feature: has_bias ? "bias alone" : "nothing",
      params: { rows: 29, cols: 71, has_bias, activation: ACTIVATION_CODE.none },
      buffers: () => ({ bias: signed(71, 415), x: signed(29 * 71 + 5, 416) }),
      roundings: { x: 1 },
    })
  ),
  ...onBothRanges((name, activation, range) =>
    defineCase(biasActivate, {
      feature: `${name}, range ${range}`,
      params: { rows: 29, cols: 71, has_bias: 1, activation },
      buffers: () => ({ bias: signed(71, 417), x: spread(29 * 71 + 5, 418 + activation, range) }),
      roundings: { x: EXPONENTIAL },
    })
  ),
  ...onBothRanges((name, activation, range) =>
    defineCase(gatedMultiply, {
      feature: `${name}, range ${range}`,
      params: { rows: 29, cols: 71, gate_offset: 3, ld_gate: 77, up_offset: 2, ld_up: 79, activation },
      buffers: () => ({
        gate: spread(3 + 29 * 77, 421 + activation, range),
        up: signed(2 + 29 * 79, 427),
        y: filled(29 * 71 + 5),
      }),
      roundings: { y: EXPONENTIAL },
    })
  ),
  ...[1.5, 10].map((range) =>
    defineCase(softCap, {
      feature: `range ${range}`,
      params: { count: 601, cap: 2.5 },
      buffers: () => ({ x: spread(607, 428, range) }),
      roundings: { x: EXPONENTIAL },
    })
  ),
  defineCase(softCap, {
    feature: "where tanh is cubic",
    params: { count: 601, cap: 2.5 },
    buffers: () => ({ x: positive(607, 443).map((value) => 2.5 * (0.57 + 0.05 * value)) }),
    roundings: { x: EXPONENTIAL / 2 },
  }),
  defineCase(rotary, {
    params: { rows: 26, tokens: 13, heads: 3, head_stride: 24, pairs: 10, offset: 5, ld: 80 },
    buffers: () => ({ table: signed(13 * 20, 429), x: signed(5 + 26 * 80, 430) }),
    roundings: { x: 3 },
  }),
  defineCase(gatherRows, {
    params: { rows: 17, cols: 41, offset: 3 },
    buffers: () => ({ x: words(23 * 41, 431), index: below(23, 25, 432), y: words(17 * 41 + 9, 433) }),
  }),
  ...[0, 1].map((has_index) =>
    defineCase(addRows, {
      feature: has_index ? "chosen rows" : "all rows",
      params: { rows: 17, cols: 41, offset: 3, has_index, scale: -0.75 },
      buffers: () => ({
        x: signed(17 * 41, 434),
        index: permutation(25, 435),
        factors: positive(25, 436),
        y: signed(25 * 41, 437),
      }),
      roundings: { y: 4 },
    })
  ),
  ...ATTENTION.map(attentionCase),
  defineCase(crossEntropy, {
    feature: "one large logit",
    params: { rows: 3, cols: 1001, ld: 1010 },
    buffers: () => ({
      // Without subtracting the largest logit, wherever it is, exp would overflow.
      logits: signed(3 * 1010, 440).map((value, i) =>
        i % 1010 === [255, 767, 1000][Math.floor(i / 1010)] ? 200 : value
      ),
      targets: below(1001, 3, 441),
      loss: filled(3),
    }),
    roundings: { loss: EXPONENTIAL },
  }),
  defineCase(crossEntropy, {
    params: { rows: 7, cols: 3001, ld: 3010 },
    buffers: () => ({
      logits: signed(7 * 3010, 438).map((value) => 8 * value),
      targets: below(3001, 7, 439),
      loss: filled(9),
    }),
    roundings: { loss: sumRoundings(3001) },
  }),
];
