/**
 * The cases that run many kernels one after the other: the blocks of tiny models, each with two windows of tokens. They
 * find faults that a single dispatch does not show, such as a kernel that reads a result before it is finished.
 */

import {
  ACTIVATION_CODE,
  biasActivate,
  gatedMultiply,
  softCap,
} from "../../device/kernels/forward/activate.ts";
import { attention } from "../../device/kernels/forward/attention.ts";
import { crossEntropy } from "../../device/kernels/forward/cross_entropy.ts";
import { layerNorm, rmsNorm } from "../../device/kernels/forward/normalize.ts";
import { rotary } from "../../device/kernels/forward/rotary.ts";
import { addRows, gatherRows } from "../../device/kernels/forward/rows.ts";
import { gemmNT } from "../../device/kernels/gemm.ts";
import type { Kernel } from "../../device/kernels/kernel.ts";
import { below, filled, positives, signed } from "../../device/kernels/kernel_case.ts";
import type { CheckCase, Step } from "./run_case.ts";

const BATCH = 2, TOKENS = 19, ROWS = BATCH * TOKENS;
const WIDTH = 48, HEADS = 4, HEAD_DIM = 12, KV_HEADS = 2, INNER = 80, VOCABULARY = 101;

/**
 * The roundings on the way through a block. An element passes about a dozen kernels, and each of them multiplies
 * earlier errors by at most about two. The longest sums have 101 terms.
 */
const BLOCK_ROUNDINGS = 4096;

function step<B extends string, P extends string>(
  kernel: Kernel<B, P>,
  buffers: Readonly<Record<B, string>>,
  params: Readonly<Record<P, number>>,
): Step {
  return { kernel: kernel as unknown as Kernel, buffers, params };
}

/** target ← x·weightᵀ for x (ROWS, inputs) and weight (outputs, inputs). */
const linear = (x: string, weight: string, target: string, inputs: number, outputs: number) =>
  step(gemmNT, { a: x, b: weight, c: target }, {
    m: ROWS,
    n: outputs,
    k: inputs,
    a_offset: 0,
    lda: inputs,
    b_offset: 0,
    ldb: inputs,
    c_offset: 0,
    ldc: outputs,
    alpha: 1,
    beta: 0,
    upper: 0,
  });

const attend = (kvHeads: number, window: number, soft_cap: number) =>
  step(attention, { q: "q", k: "k", v: "v", slopes: "slopes", sinks: "slopes", out: "attended" }, {
    batch: BATCH,
    tokens: TOKENS,
    past: 0,
    heads: HEADS,
    kv_heads: kvHeads,
    head_dim: HEAD_DIM,
    head_stride: HEAD_DIM,
    q_offset: 0,
    ldq: WIDTH,
    k_offset: 0,
    ldk: kvHeads * HEAD_DIM,
    v_offset: 0,
    ldv: kvHeads * HEAD_DIM,
    ldo: WIDTH,
    scale: 1 / Math.sqrt(HEAD_DIM),
    window,
    soft_cap,
    chunked: 0,
    has_sinks: 0,
  });

const rotate = (x: string, heads: number) =>
  step(rotary, { table: "angles", x }, {
    rows: ROWS,
    tokens: TOKENS,
    heads,
    head_stride: HEAD_DIM,
    pairs: HEAD_DIM / 2,
    offset: 0,
    ld: heads * HEAD_DIM,
    interleaved: 0,
  });

/** states ← states + x. */
const addToStates = (x: string) =>
  step(addRows, { x, index: "ids", factors: "factors", y: "states" }, {
    rows: ROWS,
    cols: WIDTH,
    offset: 0,
    has_index: 0,
    scale: 1,
  });

const embed = step(gatherRows, { x: "embedding", index: "ids", y: "states" }, {
  rows: ROWS,
  cols: WIDTH,
  offset: 0,
});

/** The logits of all tokens, and their negative log-likelihoods. */
const loss = [
  linear("normed", "embedding", "logits", WIDTH, VOCABULARY),
  step(softCap, { x: "logits" }, { count: ROWS * VOCABULARY, cap: 8 }),
  step(crossEntropy, { logits: "logits", targets: "targets", loss: "loss" }, {
    rows: ROWS,
    cols: VOCABULARY,
    ld: VOCABULARY,
  }),
];

/** Returns the weights and the activations of both blocks. The weights of a layer with n inputs are about 1/√n. */
function modelBuffers(kvHeads: number) {
  const weights = (outputs: number, inputs: number, seed: number) =>
    signed(outputs * inputs, seed).map((value) => value * Math.sqrt(3 / inputs));
  const kvWidth = kvHeads * HEAD_DIM;
  const sines = Array.from({ length: TOKENS * HEAD_DIM / 2 }, (_, i) => signed(1, 500 + i)[0]);
  return {
    embedding: signed(VOCABULARY * WIDTH, 501),
    ids: below(VOCABULARY, ROWS, 502),
    targets: below(VOCABULARY, ROWS, 503),
    factors: filled(ROWS, 1),
    // For each token, the cosines and then the sines of its angles.
    angles: Float32Array.from({ length: TOKENS * HEAD_DIM }, (_, at) => {
      const token = Math.floor(at / HEAD_DIM),
        pair = at % (HEAD_DIM / 2),
        sine = sines[token * HEAD_DIM / 2 + pair];
      return at % HEAD_DIM < HEAD_DIM / 2 ? Math.sqrt(1 - sine * sine) : sine;
    }),
    slopes: filled(HEADS, 0).map((_, head) => kvHeads === HEADS ? 2 ** -(1 + 2 * head) : 0),
    norm: positives(WIDTH, 504),
    norm_bias: signed(WIDTH, 505),
    wq: weights(WIDTH, WIDTH, 506),
    wk: weights(kvWidth, WIDTH, 507),
    wv: weights(kvWidth, WIDTH, 508),
    wo: weights(WIDTH, WIDTH, 509),
    w_gate: weights(INNER, WIDTH, 510),
    w_up: weights(INNER, WIDTH, 511),
    w_down: weights(WIDTH, INNER, 512),
    up_bias: signed(INNER, 513),
    states: filled(ROWS * WIDTH),
    normed: filled(ROWS * WIDTH),
    q: filled(ROWS * WIDTH),
    k: filled(ROWS * kvWidth),
    v: filled(ROWS * kvWidth),
    attended: filled(ROWS * WIDTH),
    projected: filled(ROWS * WIDTH),
    gate: filled(ROWS * INNER),
    up: filled(ROWS * INNER),
    gated: filled(ROWS * INNER),
    logits: filled(ROWS * VOCABULARY),
    loss: filled(ROWS),
  };
}

const outputs = {
  states: { binding: "states", roundings: BLOCK_ROUNDINGS },
  loss: { binding: "loss", roundings: BLOCK_ROUNDINGS },
};

const rmsNormStates = step(rmsNorm, { x: "states", weight: "norm", y: "normed" }, {
  rows: ROWS,
  cols: WIDTH,
  eps: 1e-5,
});

/**
 * Returns a case with the whole block: embeddings, a norm, attention, the norm again, the feed-forward layers, and the loss.
 * @param attended computes `attended` from `q`, `k` and `v`
 * @param inner computes `projected` from `normed`
 */
function blockCase(
  positions: string,
  kvHeads: number,
  norm: Step,
  attended: readonly Step[],
  inner: readonly Step[],
): CheckCase {
  const name = `the kernels of a block with ${positions}`;
  const steps = [
    embed,
    norm,
    linear("normed", "wq", "q", WIDTH, WIDTH),
    linear("normed", "wk", "k", WIDTH, kvHeads * HEAD_DIM),
    linear("normed", "wv", "v", WIDTH, kvHeads * HEAD_DIM),
    ...attended,
    linear("attended", "wo", "projected", WIDTH, WIDTH),
    addToStates("projected"),
    norm,
    ...inner,
    addToStates("projected"),
    norm,
    ...loss,
  ];
  return { name, subject: name, buffers: () => modelBuffers(kvHeads), steps, outputs };
}

/** A block with RMSNorm, rotary positions, shared keys, a sliding window and a gated feed-forward layer. */
const rotaryBlock = blockCase(
  "rotary positions",
  KV_HEADS,
  rmsNormStates,
  [rotate("q", HEADS), rotate("k", KV_HEADS), attend(KV_HEADS, 7, 3)],
  [
    linear("normed", "w_gate", "gate", WIDTH, INNER),
    linear("normed", "w_up", "up", WIDTH, INNER),
    step(gatedMultiply, { gate: "gate", up: "up", y: "gated" }, {
      rows: ROWS,
      cols: INNER,
      gate_offset: 0,
      ld_gate: INNER,
      up_offset: 0,
      ld_up: INNER,
      activation: ACTIVATION_CODE.silu,
    }),
    linear("gated", "w_down", "projected", INNER, WIDTH),
  ],
);

const layerNormStates = step(layerNorm, { x: "states", weight: "norm", bias: "norm_bias", y: "normed" }, {
  rows: ROWS,
  cols: WIDTH,
  eps: 1e-5,
});

/** A block with LayerNorm, ALiBi and a feed-forward layer with a bias and GELU. */
const alibiBlock = blockCase(
  "ALiBi",
  HEADS,
  layerNormStates,
  [attend(HEADS, 0, 0)],
  [
    linear("normed", "w_up", "up", WIDTH, INNER),
    step(biasActivate, { bias: "up_bias", x: "up" }, {
      rows: ROWS,
      cols: INNER,
      has_bias: 1,
      activation: ACTIVATION_CODE.gelu,
    }),
    linear("up", "w_down", "projected", INNER, WIDTH),
  ],
);

export const MODEL_CASES: readonly CheckCase[] = [rotaryBlock, alibiBlock];
