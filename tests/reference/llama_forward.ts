/**
 * The forward pass of LLaMA, Mistral, Qwen2, Qwen3, Phi-3, Mixtral and Qwen3-MoE in float64, after the `modeling_*.py` of these families and
 * `modeling_rope_utils.py` in Hugging Face transformers. It handles one window, a run of consecutive tokens, at a time. Its
 * settings are the fields of config.json. The main parts are rotary positions (RoPE, arXiv 2104.09864), RMSNorm (arXiv
 * 1910.07467) and a gated feed-forward network (arXiv 2002.05202).
 */

/**
 * The settings of config.json, under the names that transformers gives them. The default values here are not those of
 * transformers, so the models of the tests set every setting that matters.
 */
export interface LlamaConfig {
  readonly model_type: string;
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim?: number;
  readonly hidden_act: string;
  readonly rms_norm_eps: number;
  readonly max_position_embeddings: number;
  readonly tie_word_embeddings: boolean;
  readonly attention_bias?: boolean;
  readonly mlp_bias?: boolean;
  readonly sliding_window?: number | null;
  readonly use_sliding_window?: boolean;
  readonly max_window_layers?: number;
  readonly layer_types?: readonly string[];
  readonly rope_theta?: number;
  readonly rope_scaling?: RopeScaling | null;
  readonly rope_parameters?: RopeScaling;
  readonly partial_rotary_factor?: number;
  readonly original_max_position_embeddings?: number;
  readonly num_local_experts?: number;
  readonly num_experts_per_tok?: number;
  readonly norm_topk_prob?: boolean;
}

/** Receives the output of an expert for one token, and the factor by which the router multiplies it. */
export type ExpertObserver = (
  layer: number,
  expert: number,
  factor: number,
  output: readonly number[],
) => void;

/** The settings of the rotary positions. They are in the object `rope_scaling`, or in `rope_parameters` since version 5 of transformers. */
export interface RopeScaling {
  readonly rope_type?: string;
  readonly type?: string;
  readonly rope_theta?: number;
  readonly partial_rotary_factor?: number;
  readonly factor?: number;
  readonly low_freq_factor?: number;
  readonly high_freq_factor?: number;
  readonly original_max_position_embeddings?: number;
  readonly short_factor?: readonly number[];
  readonly long_factor?: readonly number[];
}

type Row = number[];

/**
 * Runs one window of token ids through the model.
 *
 * @param tensors the weights by their full names, row-major
 * @returns the logits, (tokens, vocabulary) row-major
 */
export function forwardLlama(
  config: LlamaConfig,
  tensors: ReadonlyMap<string, ArrayLike<number>>,
  ids: ArrayLike<number>,
  onExpert?: ExpertObserver,
): number[] {
  const { hidden_size: hidden, num_attention_heads: heads, num_key_value_heads: kvHeads } = config;
  const dim = config.head_dim ?? hidden / heads;
  const fused = config.model_type === "phi3";
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
  const gated = (root: string, x: Row, [gate, up, down] = ["gate_proj", "up_proj", "down_proj"]): Row => {
    const wide = linear(`${root}.${up}`, x);
    const inner = linear(`${root}.${gate}`, x).map((value, i) =>
      activation(config.hidden_act, value) * wide[i]
    );
    return linear(`${root}.${down}`, inner);
  };
  const isMixtral = config.model_type === "mixtral";
  const mixture = (layer: number, x: Row): Row => {
    const root = `model.layers.${layer}.${isMixtral ? "block_sparse_moe" : "mlp"}`;
    const all = linear(`${root}.gate`, x).map((score, expert) => ({ expert, value: Math.exp(score) }));
    const chosen = all.toSorted((a, b) => b.value - a.value).slice(0, config.num_experts_per_tok);
    const divided = isMixtral || config.norm_topk_prob ? chosen : all;
    const total = divided.reduce((sum, { value }) => sum + value, 0);
    return chosen.reduce((sum, { expert, value }) => {
      const output = gated(`${root}.experts.${expert}`, x, isMixtral ? ["w1", "w3", "w2"] : undefined);
      onExpert?.(layer, expert, value / total, output);
      return sum.map((element, i) => element + value / total * output[i]);
    }, x.map(() => 0));
  };
  const embedding = tensor("model.embed_tokens.weight");
  let states: Row[] = Array.from(
    ids,
    (id) => Array.from({ length: hidden }, (_, c) => embedding[id * hidden + c]),
  );
  const turn = rotation(config, dim, ids.length);

  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const name = (part: string) => `model.layers.${layer}.${part}`;
    const split = (x: Row, count: number) =>
      Array.from({ length: count }, (_, h) => x.slice(h * dim, (h + 1) * dim));
    const projected = states.map((state, t) => {
      const x = norm(name("input_layernorm"), state);
      const parts = fused ? fusedParts(linear(name("self_attn.qkv_proj"), x), heads * dim, kvHeads * dim) : [
        linear(name("self_attn.q_proj"), x),
        linear(name("self_attn.k_proj"), x),
        linear(name("self_attn.v_proj"), x),
      ];
      let q = split(parts[0], heads), k = split(parts[1], kvHeads);
      if (config.model_type.startsWith("qwen3")) {
        q = q.map((head) => norm(name("self_attn.q_norm"), head));
        k = k.map((head) => norm(name("self_attn.k_norm"), head));
      }
      return {
        q: q.map((head) => turn(head, t)),
        k: k.map((head) => turn(head, t)),
        v: split(parts[2], kvHeads),
      };
    });
    const window = slidingWindow(config, layer);
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
    states = states.map((state) => {
      const x = norm(name("post_attention_layernorm"), state);
      if (config.num_local_experts) return add(state, mixture(layer, x));
      if (!fused) return add(state, gated(name("mlp"), x));
      const wide = config.intermediate_size, both = linear(name("mlp.gate_up_proj"), x);
      const gate = both.slice(0, wide), up = both.slice(wide);
      const inner = gate.map((value, i) => activation(config.hidden_act, value) * up[i]);
      return add(state, linear(name("mlp.down_proj"), inner));
    });
  }
  const head = config.tie_word_embeddings ? "model.embed_tokens" : "lm_head";
  return states.flatMap((state) => linear(head, norm("model.norm", state)));
}

/** Splits a row of the fused projection of Phi-3 into query, key and value. */
function fusedParts(row: Row, qWidth: number, kvWidth: number): Row[] {
  return [row.slice(0, qWidth), row.slice(qWidth, qWidth + kvWidth), row.slice(qWidth + kvWidth)];
}

/** The length of the attention window in a layer, or null if the layer attends to all previous tokens. */
function slidingWindow(config: LlamaConfig, layer: number): number | null {
  if (!config.model_type.startsWith("qwen")) return config.sliding_window ?? null;
  const types = config.layer_types;
  const slides = types ? types[layer] === "sliding_attention" : layer >= config.max_window_layers!;
  if (!config.use_sliding_window || !slides) return null;
  return config.sliding_window ?? null;
}

/**
 * Returns a function that rotates one head at a position. It computes x·cos + rotate_half(x)·sin, as
 * `apply_rotary_pos_emb` of transformers does. With a partial rotary factor, only the first elements of the
 * head rotate, and the others are returned unchanged.
 */
function rotation(config: LlamaConfig, dim: number, tokens: number): (head: Row, position: number) => Row {
  const rope = config.rope_parameters ?? config.rope_scaling ?? {};
  const kind = rope.rope_type ?? rope.type ?? "default";
  const theta = rope.rope_theta ?? config.rope_theta ?? 10000;
  const rotating = Math.trunc(dim * (rope.partial_rotary_factor ?? config.partial_rotary_factor ?? 1));
  let inverse = Array.from({ length: rotating / 2 }, (_, i) => 1 / theta ** (2 * i / rotating));
  let scaling = 1;
  if (kind === "linear") inverse = inverse.map((frequency) => frequency / rope.factor!);
  if (kind === "llama3") inverse = inverse.map((frequency) => llama3Frequency(frequency, rope));
  if (kind === "longrope") {
    const original = config.original_max_position_embeddings ?? rope.original_max_position_embeddings!;
    const extension = rope.factor ?? config.max_position_embeddings / original;
    if (extension > 1) scaling = Math.sqrt(1 + Math.log(extension) / Math.log(original));
    const factors = tokens > original ? rope.long_factor! : rope.short_factor!;
    inverse = inverse.map((frequency, i) => frequency / factors[i]);
  }
  const angles = [...inverse, ...inverse];
  return (head, position) => {
    const part = head.slice(0, rotating), half = rotating / 2;
    const rotated = [...part.slice(half).map((value) => -value), ...part.slice(0, half)];
    const turned = part.map((value, i) => {
      return value * Math.cos(position * angles[i]) * scaling +
        rotated[i] * Math.sin(position * angles[i]) * scaling;
    });
    return [...turned, ...head.slice(rotating)];
  };
}

/** The frequency after the scaling of type `llama3`, which leaves high frequencies unchanged and divides low ones. */
function llama3Frequency(frequency: number, rope: RopeScaling): number {
  const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: old } =
    rope;
  const wavelength = 2 * Math.PI / frequency;
  if (wavelength < old! / high!) return frequency;
  if (wavelength > old! / low!) return frequency / factor!;
  const smooth = (old! / wavelength - low!) / (high! - low!);
  return (1 - smooth) * frequency / factor! + smooth * frequency;
}

function activation(name: string, x: number): number {
  if (name === "silu") return x / (1 + Math.exp(-x));
  if (name === "relu") return Math.max(0, x);
  throw new Error(`the reference does not implement the activation ${name}`);
}

function dot(a: Row, b: Row): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

function add(a: Row, b: Row): Row {
  return a.map((value, i) => value + b[i]);
}
