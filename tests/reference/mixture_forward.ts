/**
 * The forward pass of Mixtral and Qwen3-MoE in float64, after the `modeling_*.py` of these families in Hugging Face transformers. It handles
 * one window, a run of consecutive tokens, at a time. Its settings are the fields of config.json. The main parts are rotary positions
 * (RoPE, arXiv 2104.09864), RMSNorm (arXiv 1910.07467) and experts, which are gated feed-forward networks (arXiv 2002.05202).
 */

/** The settings of config.json, under the names that transformers gives them. Heads are `hidden_size / num_attention_heads` wide by default. */
export interface MixtureConfig {
  readonly model_type: string;
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim?: number;
  readonly rms_norm_eps: number;
  readonly sliding_window?: number | null;
  readonly use_sliding_window?: boolean;
  readonly rope_parameters: { readonly rope_theta: number };
  readonly num_experts_per_tok: number;
  readonly norm_topk_prob?: boolean;
}

/** Receives the output of an expert for one token, and the factor by which the router multiplies it. */
export type ExpertObserver = (
  layer: number,
  expert: number,
  factor: number,
  output: readonly number[],
) => void;

type Row = number[];

/**
 * Runs one window of token ids through the model.
 *
 * @param tensors the weights by their full names, row-major
 * @returns the logits, (tokens, vocabulary) row-major
 */
export function forwardMixture(
  config: MixtureConfig,
  tensors: ReadonlyMap<string, ArrayLike<number>>,
  ids: ArrayLike<number>,
  onExpert?: ExpertObserver,
): number[] {
  const { hidden_size: hidden, num_attention_heads: heads, num_key_value_heads: kvHeads } = config;
  const dim = config.head_dim ?? hidden / heads;
  const tensor = (name: string) => {
    const values = tensors.get(name);
    if (!values) throw new Error(`the model of the reference has no tensor ${name}`);
    return values;
  };
  const linear = (name: string, x: Row): Row => {
    const weight = tensor(`${name}.weight`), bias = tensors.get(`${name}.bias`);
    return Array.from({ length: weight.length / x.length }, (_, o) => {
      let sum = bias ? bias[o] : 0;
      for (let i = 0; i < x.length; i++) sum += x[i] * weight[o * x.length + i];
      return sum;
    });
  };
  const norm = (name: string, x: Row): Row => {
    const weight = tensor(`${name}.weight`);
    const mean = x.reduce((sum, value) => sum + value * value, 0) / x.length;
    return x.map((value, i) => weight[i] * (value / Math.sqrt(mean + config.rms_norm_eps)));
  };
  const isMixtral = config.model_type === "mixtral";
  const [gate, up, down] = isMixtral ? ["w1", "w3", "w2"] : ["gate_proj", "up_proj", "down_proj"];
  const gated = (root: string, x: Row): Row => {
    const wide = linear(`${root}.${up}`, x);
    const inner = linear(`${root}.${gate}`, x).map((value, i) => value / (1 + Math.exp(-value)) * wide[i]);
    return linear(`${root}.${down}`, inner);
  };
  const mixture = (layer: number, x: Row): Row => {
    const root = `model.layers.${layer}.${isMixtral ? "block_sparse_moe" : "mlp"}`;
    const all = linear(`${root}.gate`, x).map((score, expert) => ({ expert, value: Math.exp(score) }));
    const chosen = all.toSorted((a, b) => b.value - a.value).slice(0, config.num_experts_per_tok);
    const divided = isMixtral || config.norm_topk_prob ? chosen : all;
    const total = divided.reduce((sum, { value }) => sum + value, 0);
    return chosen.reduce((sum, { expert, value }) => {
      const output = gated(`${root}.experts.${expert}`, x);
      onExpert?.(layer, expert, value / total, output);
      return sum.map((element, i) => element + value / total * output[i]);
    }, x.map(() => 0));
  };
  const embedding = tensor("model.embed_tokens.weight");
  let states: Row[] = Array.from(
    ids,
    (id) => Array.from({ length: hidden }, (_, c) => embedding[id * hidden + c]),
  );
  const window = isMixtral || config.use_sliding_window ? config.sliding_window ?? null : null;
  const turn = rotation(config.rope_parameters.rope_theta, dim);

  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const name = (part: string) => `model.layers.${layer}.${part}`;
    const split = (x: Row, count: number) =>
      Array.from({ length: count }, (_, h) => x.slice(h * dim, (h + 1) * dim));
    const projected = states.map((state, t) => {
      const x = norm(name("input_layernorm"), state);
      let q = split(linear(name("self_attn.q_proj"), x), heads);
      let k = split(linear(name("self_attn.k_proj"), x), kvHeads);
      if (!isMixtral) {
        q = q.map((head) => norm(name("self_attn.q_norm"), head));
        k = k.map((head) => norm(name("self_attn.k_norm"), head));
      }
      return {
        q: q.map((head) => turn(head, t)),
        k: k.map((head) => turn(head, t)),
        v: split(linear(name("self_attn.v_proj"), x), kvHeads),
      };
    });
    states = states.map((state, t) => {
      const attended: Row = [];
      for (let h = 0; h < heads; h++) {
        const shared = Math.floor(h / (heads / kvHeads));
        const weights = projected.map(({ k }, s) => {
          const seen = s <= t && (window === null || s > t - window);
          return seen ? Math.exp(dot(projected[t].q[h], k[shared]) / Math.sqrt(dim)) : 0;
        });
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        for (let d = 0; d < dim; d++) {
          attended.push(
            weights.reduce((sum, weight, s) => sum + weight / total * projected[s].v[shared][d], 0),
          );
        }
      }
      return add(state, linear(name("self_attn.o_proj"), attended));
    });
    states = states.map((state) => add(state, mixture(layer, norm(name("post_attention_layernorm"), state))));
  }
  return states.flatMap((state) => linear("lm_head", norm("model.norm", state)));
}

/**
 * Returns a function that rotates one head at a position. It computes x·cos + rotate_half(x)·sin, as `apply_rotary_pos_emb` of transformers
 * does.
 */
function rotation(theta: number, dim: number): (head: Row, position: number) => Row {
  const half = dim / 2, inverse = Array.from({ length: half }, (_, i) => 1 / theta ** (2 * i / dim));
  const angles = [...inverse, ...inverse];
  return (head, position) => {
    const rotated = [...head.slice(half).map((value) => -value), ...head.slice(0, half)];
    return head.map((value, i) =>
      value * Math.cos(position * angles[i]) + rotated[i] * Math.sin(position * angles[i])
    );
  };
}

function dot(a: Row, b: Row): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

function add(a: Row, b: Row): Row {
  return a.map((value, i) => value + b[i]);
}
