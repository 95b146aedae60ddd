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

// Elements d … d + 3 of the key at `start`, those past head_dim as 0. Reads past head_dim are dropped.
fn load_key(start: u32, d: u32) -> vec4f {
  let at = start + d;
  return below_head_dim(d, vec4f(k[at], k[at + 1], k[at + 2], k[at + 3]));
}

// The same of the value at `start`.
fn load_value(start: u32, d: u32) -> vec4f {
  let at = start + d;
  return below_head_dim(d, vec4f(v[at], v[at + 1], v[at + 2], v[at + 3]));
}

fn below_head_dim(d: u32, quad: vec4f) -> vec4f {
  return select(vec4f(0), quad, vec4u(d, d + 1, d + 2, d + 3) < vec4u(params.head_dim));
}

// Which of the keys s … s + 3 query t sees, where `low` is the first.
fn sees(s: u32, low: u32, t: u32) -> vec4<bool> {
  let keys = vec4u(s, s + 1, s + 2, s + 3);
  return (keys >= vec4u(low)) & (keys <= vec4u(t));
}

// The products of a quad of the query with the same quad of four staged keys, the first of them at block[at].
fn four_dots(quad: vec4f, at: u32, quads: u32) -> vec4f {
  return vec4f(
    dot(quad, block[at]),
    dot(quad, block[at + quads]),
    dot(quad, block[at + 2 * quads]),
    dot(quad, block[at + 3 * quads]),
  );
}

// The ALiBi bias of query t for the keys s … s + 3.
fn bias(slope: f32, s: u32, t: u32) -> vec4f {
  return slope * (vec4f(vec4u(s, s + 1, s + 2, s + 3)) - vec4f(f32(t)));
}

fn largest_seen(largest: f32, scores: vec4f, seen: vec4<bool>) -> f32 {
  let four = select(vec4f(LOWEST), scores, seen);
  return max(max(max(max(largest, four.x), four.y), four.z), four.w);
}

// The weights of four keys, which are exp(score − largest): 0 for a key that the query does not see.
fn exponentials(scores: vec4f, largest: f32, seen: vec4<bool>) -> vec4f {
  return select(vec4f(0), exp(max(min(scores - largest, vec4f(0)), vec4f(-87))), seen);
}

fn add_each(sum: f32, four: vec4f) -> f32 {
  return sum + four.x + four.y + four.z + four.w;
}

// Adds four weights times a quad of four staged values, the first of them at block[at].
fn add_values(sum: vec4f, weights: vec4f, at: u32, quads: u32) -> vec4f {
  var four = sum;
  four += weights.x * block[at];
  four += weights.y * block[at + quads];
  four += weights.z * block[at + 2 * quads];
  four += weights.w * block[at + 3 * quads];
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
    // The scores of the 16 keys. Their zeros are written out because naga initialises a variable declared in a loop only once.
    var scores0 = vec4f(0);
    var scores1 = vec4f(0);
    var scores2 = vec4f(0);
    var scores3 = vec4f(0);
    for (var d = 0u; d < quads; d++) {
      let quad = query[d];
      scores0 += four_dots(quad, d, quads);
      scores1 += four_dots(quad, d + 4 * quads, quads);
      scores2 += four_dots(quad, d + 8 * quads, quads);
      scores3 += four_dots(quad, d + 12 * quads, quads);
    }
    scores0 += bias(slope, s0, t);
    scores1 += bias(slope, s0 + 4, t);
    scores2 += bias(slope, s0 + 8, t);
    scores3 += bias(slope, s0 + 12, t);
    let seen0 = sees(s0, low, t);
    let seen1 = sees(s0 + 4, low, t);
    let seen2 = sees(s0 + 8, low, t);
    let seen3 = sees(s0 + 12, low, t);
    var block_largest = largest_seen(largest, scores0, seen0);
    block_largest = largest_seen(block_largest, scores1, seen1);
    block_largest = largest_seen(block_largest, scores2, seen2);
    block_largest = largest_seen(block_largest, scores3, seen3);
    let rescale = exp(max(largest - block_largest, -87));
    largest = block_largest;
    scores0 = exponentials(scores0, largest, seen0);
    scores1 = exponentials(scores1, largest, seen1);
    scores2 = exponentials(scores2, largest, seen2);
    scores3 = exponentials(scores3, largest, seen3);
    weight *= rescale;
    weight = add_each(add_each(add_each(add_each(weight, scores0), scores1), scores2), scores3);

    workgroupBarrier(); // the keys are used
    for (var e = local; e < KEYS * quads; e += QUERIES) {
      let s = min(s0 + e / quads, end - 1);
      block[e] = load_value(v_start + (first_row + s) * params.ldv, 4 * (e % quads));
    }
    workgroupBarrier();
    for (var d = 0u; d < quads; d++) {
      var four = sum[d] * rescale;
      four = add_values(four, scores0, d, quads);
      four = add_values(four, scores1, d + 4 * quads, quads);
      four = add_values(four, scores2, d + 8 * quads, quads);
      four = add_values(four, scores3, d + 12 * quads, quads);
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
