/**
 * The forward pass of OPT (Zhang et al., arXiv 2205.01068) in float64, after `modeling_opt.py` of Hugging Face transformers. It
 * handles one window, a run of consecutive tokens, at a time. It also returns the input of every linear layer, for tests of
 * calibration. The file has its own reader of f16 safetensors files, so it shares no code with `src`.
 */

import { decodeFloat16, F16 } from "./float16.ts";

/**
 * An OPT model with ReLU. The output head uses the word embeddings as its weights. If the tensors include
 * `project_in` and `project_out`, the embeddings are projected to the hidden size and back.
 */
export interface OptReference {
  readonly hidden: number;
  readonly heads: number;
  readonly blocks: number;
  readonly vocabulary: number;
  /**
   * A block has two halves, attention and feed-forward. If true, a LayerNorm follows each half, and there is no LayerNorm at the
   * end of the model, as in opt-350m. Otherwise a LayerNorm precedes each half, and there is one at the end.
   */
  readonly normAfter?: boolean;
  /** The weights by their full names, row-major. A test may replace some of them. */
  readonly tensors: Map<string, Float64Array>;
}

/** The result for one window. */
export interface ForwardResult {
  /** (tokens, vocabulary), row-major. */
  readonly logits: Float64Array;
  /** The input of each linear layer, (tokens, in_features) row-major, by the name of the layer's weight. */
  readonly inputs: Map<string, Float64Array>;
  /** The output of each block, (tokens, hidden) row-major. */
  readonly outputs: readonly Float64Array[];
}

/** Reads a model from `config.json` and `model.safetensors` in a folder. */
export function readOptReference(folder: URL): OptReference {
  const config = JSON.parse(Deno.readTextFileSync(new URL("config.json", folder)));
  const file = Deno.readFileSync(new URL("model.safetensors", folder));
  const view = new DataView(file.buffer);
  const headerEnd = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, headerEnd)));
  delete header.__metadata__;
  const tensors = new Map<string, Float64Array>();
  for (const [name, { data_offsets }] of Object.entries<{ data_offsets: [number, number] }>(header)) {
    const [begin, end] = data_offsets;
    const value = (_: unknown, i: number) =>
      decodeFloat16(view.getUint16(headerEnd + begin + 2 * i, true), F16);
    tensors.set(name, Float64Array.from({ length: (end - begin) / 2 }, value));
  }
  return {
    hidden: config.hidden_size,
    heads: config.num_attention_heads,
    blocks: config.num_hidden_layers,
    vocabulary: config.vocab_size,
    tensors,
  };
}

/** Runs one window of token ids through the model. */
export function forwardOpt(model: OptReference, ids: ArrayLike<number>): ForwardResult {
  const { hidden, heads, vocabulary } = model;
  const tokens = ids.length;
  const inputs = new Map<string, Float64Array>(), outputs: Float64Array[] = [];
  const tensor = (name: string): Float64Array => {
    const values = model.tensors.get(`model.decoder.${name}`);
    if (!values) throw new Error(`the model of the reference has no tensor ${name}`);
    return values;
  };
  const linear = (name: string, x: Float64Array): Float64Array => {
    inputs.set(`model.decoder.${name}.weight`, x);
    return affine(x, tensor(`${name}.weight`), tensor(`${name}.bias`));
  };
  const norm = (name: string, x: Float64Array): Float64Array =>
    layerNorm(x, tensor(`${name}.weight`), tensor(`${name}.bias`));

  const project = (name: string, x: Float64Array, width: number): Float64Array => {
    const weight = model.tensors.get(`model.decoder.${name}.weight`);
    return weight ? affine(x, weight, new Float64Array(width)) : x;
  };

  const width = tensor("embed_tokens.weight").length / vocabulary;
  const embedded = Float64Array.from({ length: tokens * width }, (_, i) => {
    return tensor("embed_tokens.weight")[ids[Math.floor(i / width)] * width + i % width];
  });
  let x: Float64Array = project("project_in", embedded, hidden).slice();
  for (let t = 0; t < tokens; t++) {
    for (let c = 0; c < hidden; c++) {
      x[t * hidden + c] += tensor("embed_positions.weight")[(t + 2) * hidden + c];
    }
  }
  for (let block = 0; block < model.blocks; block++) {
    const layer = `layers.${block}.`;
    const before = (name: string) => model.normAfter ? x.slice() : norm(layer + name, x);
    const after = (name: string) => model.normAfter ? norm(layer + name, x) : x;
    const a = before("self_attn_layer_norm");
    const q = linear(`${layer}self_attn.q_proj`, a);
    const k = linear(`${layer}self_attn.k_proj`, a);
    const v = linear(`${layer}self_attn.v_proj`, a);
    addTo(x, linear(`${layer}self_attn.out_proj`, attention(q, k, v, tokens, heads)));
    x = after("self_attn_layer_norm");
    const inner = linear(`${layer}fc1`, before("final_layer_norm"));
    addTo(x, linear(`${layer}fc2`, inner.map((value) => Math.max(0, value))));
    x = after("final_layer_norm");
    outputs.push(x.slice());
  }
  const head = affine(
    project("project_out", model.normAfter ? x : norm("final_layer_norm", x), width),
    tensor("embed_tokens.weight"),
    new Float64Array(vocabulary),
  );
  return { logits: head, inputs, outputs };
}

/** The mean of −log p(ids[t + 1]) over all positions t of a window except the last, in nats. */
export function meanLoss(logits: Float64Array, ids: ArrayLike<number>): number {
  const vocabulary = logits.length / ids.length;
  let total = 0;
  for (let t = 0; t + 1 < ids.length; t++) {
    const row = logits.subarray(t * vocabulary, (t + 1) * vocabulary);
    const sum = row.reduce((partial, value) => partial + Math.exp(value), 0);
    total += Math.log(sum) - row[ids[t + 1]];
  }
  return total / (ids.length - 1);
}

/** The mean of KL(p ‖ q) over the tokens that predict another token, in nats, where p and q are the probabilities by two logits. */
export function meanDivergence(logitsP: Float64Array, logitsQ: Float64Array, tokens: number): number {
  const vocabulary = logitsP.length / tokens;
  let total = 0;
  for (let t = 0; t + 1 < tokens; t++) {
    const [p, q] = [logitsP, logitsQ].map((logits) => {
      const row = logits.subarray(t * vocabulary, (t + 1) * vocabulary);
      const logSum = Math.log(row.reduce((partial, value) => partial + Math.exp(value), 0));
      return row.map((value) => value - logSum);
    });
    total += p.reduce((sum, logP, i) => sum + Math.exp(logP) * (logP - q[i]), 0);
  }
  return total / (tokens - 1);
}

/** x·Wᵀ + b for x (rows, in), W (out, in) and b (out). */
function affine(x: Float64Array, weight: Float64Array, bias: Float64Array): Float64Array {
  const out = bias.length, inner = weight.length / out;
  return Float64Array.from({ length: (x.length / inner) * out }, (_, i) => {
    const row = Math.floor(i / out) * inner, column = i % out;
    let sum = bias[column];
    for (let c = 0; c < inner; c++) sum += x[row + c] * weight[column * inner + c];
    return sum;
  });
}

function layerNorm(x: Float64Array, weight: Float64Array, bias: Float64Array): Float64Array {
  const size = weight.length;
  const y = new Float64Array(x.length);
  for (let r = 0; r < x.length; r += size) {
    const row = x.subarray(r, r + size);
    const mean = row.reduce((sum, value) => sum + value, 0) / size;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / size;
    for (let c = 0; c < size; c++) {
      y[r + c] = (row[c] - mean) / Math.sqrt(variance + 1e-5) * weight[c] + bias[c];
    }
  }
  return y;
}

/** Causal multi-head attention over one window. q, k and v are (tokens, hidden). */
function attention(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  tokens: number,
  heads: number,
): Float64Array {
  const width = q.length / tokens, size = width / heads;
  const out = new Float64Array(q.length);
  for (let h = 0; h < heads; h++) {
    for (let t = 0; t < tokens; t++) {
      const weights: number[] = [];
      for (let s = 0; s <= t; s++) {
        let dot = 0;
        for (let d = h * size; d < (h + 1) * size; d++) dot += q[t * width + d] * k[s * width + d];
        weights.push(Math.exp(dot / Math.sqrt(size)));
      }
      const sum = weights.reduce((partial, weight) => partial + weight, 0);
      for (let d = h * size; d < (h + 1) * size; d++) {
        for (let s = 0; s <= t; s++) out[t * width + d] += weights[s] / sum * v[s * width + d];
      }
    }
  }
  return out;
}

function addTo(y: Float64Array, x: Float64Array): void {
  for (let i = 0; i < y.length; i++) y[i] += x[i];
}
