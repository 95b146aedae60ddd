/**
 * The forward pass of BLOOM in float64, after `modeling_bloom.py` of Hugging Face transformers. It handles one window, a run of
 * consecutive tokens, at a time. As in `modeling_bloom.py`, ALiBi adds slope × key position to the scores, and the rows of the
 * fused query-key-value projection are ordered as [heads, 3, head_dim].
 */

/** The settings of config.json that influence the forward pass. */
export interface BloomConfig {
  readonly hidden_size: number;
  readonly n_layer: number;
  readonly n_head: number;
  readonly layer_norm_epsilon: number;
  readonly apply_residual_connection_post_layernorm: boolean;
}

type Row = number[];

/**
 * Runs one window of token ids through the model.
 *
 * @param tensors the weights by their full names, row-major
 * @returns the logits, (tokens, vocabulary) row-major. The output head uses the word embeddings as its
 * weights.
 */
export function forwardBloom(
  config: BloomConfig,
  tensors: ReadonlyMap<string, ArrayLike<number>>,
  ids: ArrayLike<number>,
): number[] {
  const { hidden_size: hidden, n_head: heads } = config;
  const dim = hidden / heads;
  const tensor = (name: string) => {
    const values = tensors.get(`transformer.${name}`);
    if (!values) throw new Error(`the model of the reference has no tensor ${name}`);
    return values;
  };
  const linear = (name: string, x: Row): Row => {
    const weight = tensor(`${name}.weight`), bias = tensor(`${name}.bias`);
    return Array.from(
      bias,
      (value, o) => x.reduce((sum, xi, i) => sum + xi * weight[o * x.length + i], value),
    );
  };
  const norm = (name: string, x: Row): Row => {
    const weight = tensor(`${name}.weight`), bias = tensor(`${name}.bias`);
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
    return x.map((value, i) =>
      (value - mean) / Math.sqrt(variance + config.layer_norm_epsilon) * weight[i] + bias[i]
    );
  };
  const words = tensor("word_embeddings.weight");
  const slopes = alibi(heads);
  let states = Array.from(ids, (id) => {
    const row = Array.from({ length: hidden }, (_, c) => words[id * hidden + c]);
    return norm("word_embeddings_layernorm", row);
  });
  for (let layer = 0; layer < config.n_layer; layer++) {
    const name = (part: string) => `h.${layer}.${part}`;
    const normed = states.map((state) => norm(name("input_layernorm"), state));
    const fused = normed.map((row) => linear(name("self_attention.query_key_value"), row));
    const part = (t: number, head: number, which: number) => {
      const start = (head * 3 + which) * dim;
      return fused[t].slice(start, start + dim);
    };
    states = states.map((state, t) => {
      const context: Row = [];
      for (let head = 0; head < heads; head++) {
        const q = part(t, head, 0);
        const scores = Array.from({ length: t + 1 }, (_, s) => {
          const key = part(s, head, 1);
          return slopes[head] * s + q.reduce((sum, value, d) => sum + value * key[d], 0) / Math.sqrt(dim);
        });
        const largest = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - largest));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        const values = weights.map((_, s) => part(s, head, 2));
        for (let d = 0; d < dim; d++) {
          context.push(weights.reduce((sum, weight, s) => sum + weight / total * values[s][d], 0));
        }
      }
      const residual = config.apply_residual_connection_post_layernorm ? normed[t] : state;
      return linear(name("self_attention.dense"), context).map((value, i) => value + residual[i]);
    });
    states = states.map((state) => {
      const x = norm(name("post_attention_layernorm"), state);
      const inner = linear(name("mlp.dense_h_to_4h"), x).map((value) =>
        value * 0.5 * (1 + Math.tanh(0.79788456 * value * (1 + 0.044715 * value * value)))
      );
      const residual = config.apply_residual_connection_post_layernorm ? x : state;
      return linear(name("mlp.dense_4h_to_h"), inner).map((value, i) => value + residual[i]);
    });
  }
  return states.flatMap((state) => {
    const x = norm("ln_f", state);
    return Array.from(
      { length: words.length / hidden },
      (_, o) => x.reduce((sum, value, i) => sum + value * words[o * hidden + i], 0),
    );
  });
}

/** The ALiBi slope of each head, as the function `build_alibi_tensor` of `modeling_bloom.py` computes it. */
export function alibi(heads: number): number[] {
  const closest = 2 ** Math.floor(Math.log2(heads));
  const base = 2 ** -(2 ** -(Math.log2(closest) - 3));
  const slopes = Array.from({ length: closest }, (_, i) => base ** (i + 1));
  if (closest !== heads) {
    const extraBase = 2 ** -(2 ** -(Math.log2(2 * closest) - 3));
    const remaining = Math.min(closest, heads - closest);
    for (let power = 1; power < 1 + 2 * remaining; power += 2) slopes.push(extraBase ** power);
  }
  return slopes;
}
