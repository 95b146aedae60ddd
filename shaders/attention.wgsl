// Causal self-attention, an invocation a query row, 64 rows of one head a workgroup. Keys go by in blocks of 16
// staged in workgroup memory, with an online softmax (Milakov & Gimelshein 2018): the running maximum rescales
// what is summed so far. Blocking keeps the traffic on the accumulator, which is too long for registers, to once
// a block.

struct Params {
  batch: u32,
  tokens: u32,
  heads: u32,
  kv_heads: u32,
  head_dim: u32,
  head_stride: u32,
  q_offset: u32,
  ldq: u32,
  k_offset: u32,
  ldk: u32,
  v_offset: u32,
  ldv: u32,
  ldo: u32,
  scale: f32,
  window: u32,
}

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> slopes: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

const QUERIES: u32 = 64;
const KEYS: u32 = 16;
// Head dimensions go in fours, zeros past head_dim: 256/4.
const MAX_QUADS: u32 = 64;
// Under every score; stands for −∞, which WGSL does not promise.
const LOWEST: f32 = -1e38;

// The keys, then the values, of a block: (KEYS, quads).
var<workgroup> block: array<vec4f, KEYS * MAX_QUADS>;

// The first key that query t sees.
fn first_key(t: u32) -> u32 {
  if params.window == 0 || t < params.window {
    return 0;
  }
  return t + 1 - params.window;
}

// Four elements of a key at `start`, those past head_dim as 0.
fn load_key(start: u32, d: u32) -> vec4f {
  var four = vec4f(0);
  for (var e = 0u; e < 4 && d + e < params.head_dim; e++) {
    four[e] = k[start + d + e];
  }
  return four;
}

fn load_value(start: u32, d: u32) -> vec4f {
  var four = vec4f(0);
  for (var e = 0u; e < 4 && d + e < params.head_dim; e++) {
    four[e] = v[start + d + e];
  }
  return four;
}

@compute @workgroup_size(QUERIES)
fn attention(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let first_query = workgroup.x * QUERIES;
  let t = first_query + local;
  let h = workgroup.y;
  let first_row = workgroup.z * params.tokens;
  let in_range = t < params.tokens;
  let quads = (params.head_dim + 3) / 4;
  let kv_column = (h * params.kv_heads / params.heads) * params.head_stride;
  let k_start = params.k_offset + kv_column;
  let v_start = params.v_offset + kv_column;
  let slope = slopes[h];

  var query: array<vec4f, MAX_QUADS>;
  var sum: array<vec4f, MAX_QUADS>; // Σ p·v, over the softmax's denominator `weight`
  var weight = 0.0;
  var largest = LOWEST;
  if in_range {
    let q_start = params.q_offset + (first_row + t) * params.ldq + h * params.head_stride;
    for (var d = 0u; d < params.head_dim; d++) {
      query[d / 4][d % 4] = params.scale * q[q_start + d];
    }
  }

  // Keys up to `end` are seen by some query of the workgroup, [low, t] by this one.
  let end = min(first_query + QUERIES, params.tokens);
  let low = first_key(t);
  for (var s0 = first_key(first_query); s0 < end; s0 += KEYS) {
    workgroupBarrier(); // the values of the last block are used
    for (var e = local; e < KEYS * quads; e += QUERIES) {
      let s = min(s0 + e / quads, end - 1);
      block[e] = load_key(k_start + (first_row + s) * params.ldk, 4 * (e % quads));
    }
    workgroupBarrier();
    // With its zeros spelled out: naga initialises a variable declared in a loop only once.
    var scores = array<f32, KEYS>();
    for (var d = 0u; d < quads; d++) {
      let four = query[d];
      for (var i = 0u; i < KEYS; i++) {
        scores[i] += dot(four, block[i * quads + d]);
      }
    }
    var block_largest = largest;
    for (var i = 0u; i < KEYS; i++) {
      let s = s0 + i;
      scores[i] += slope * (f32(s) - f32(t));
      if s >= low && s <= t {
        block_largest = max(block_largest, scores[i]);
      }
    }
    let rescale = exp(max(largest - block_largest, -87));
    largest = block_largest;
    weight *= rescale;
    for (var i = 0u; i < KEYS; i++) {
      let s = s0 + i;
      scores[i] = select(0, exp(max(min(scores[i] - largest, 0), -87)), s >= low && s <= t);
      weight += scores[i];
    }

    workgroupBarrier(); // the keys are used
    for (var e = local; e < KEYS * quads; e += QUERIES) {
      let s = min(s0 + e / quads, end - 1);
      block[e] = load_value(v_start + (first_row + s) * params.ldv, 4 * (e % quads));
    }
    workgroupBarrier();
    for (var d = 0u; d < quads; d++) {
      var four = sum[d] * rescale;
      for (var i = 0u; i < KEYS; i++) {
        four += scores[i] * block[i * quads + d];
      }
      sum[d] = four;
    }
  }

  if in_range {
    let out_start = (first_row + t) * params.ldo + h * params.head_dim;
    for (var d = 0u; d < params.head_dim; d++) {
      out[out_start + d] = sum[d / 4][d % 4] / weight;
    }
  }
}
