// Causal self-attention for GPUs. Each workgroup computes the outputs of 64 consecutive queries of one head. It goes
// through the keys in chunks of 64. The products of queries and keys, and of probabilities and values, are computed
// in patches, like a matrix product. Each invocation has 4 queries, and 4 of the keys or some quads of the values.
// All sums stay in registers, because the arrays and vectors that hold them are indexed by constants only. If an
// index were a variable, a driver might move the whole array to memory, which is far slower.
//
// The softmax is computed online (Milakov and Gimelshein 2018). Each invocation keeps the largest score so far of
// each of its queries, and rescales its sums when a chunk has a larger score.

// The number of keys per chunk.
const KEYS: u32 = 64;
// The invocations form a square with this edge. Invocation (across, down) has the queries 4·down … 4·down + 3, the
// keys across + 16·j of a chunk, and the quads across + 16·j of a head.
const EDGE: u32 = 16;
// The number of quads of the output that each invocation computes: 1, 2 or 4. A workgroup computes at most 64·WIDTH
// dimensions. If a head has more, each part of its output has a workgroup of its own.
override WIDTH: u32 = 2;
// The number of quads of a head per slice. One slice of the queries and of the keys is staged at a time.
const SLICE: u32 = 4;
// The number of keys whose values are staged at a time.
override VALUES: u32 = 32 / WIDTH;
// A slice of the queries and then a slice of the keys, with shape (2, SLICE, 64), or some values, with shape
// (VALUES, 16·WIDTH).
var<workgroup> staged: array<vec4f, 2 * SLICE * QUERIES>;
// The probabilities of the chunk. Element s·EDGE + down has the probabilities of key s for the four queries of row
// `down` of the invocations.
var<workgroup> probabilities: array<vec4f, KEYS * EDGE>;
// Each invocation's numbers for its four queries, for sums and maxima over a row of invocations.
var<workgroup> partial: array<vec4f, EDGE * EDGE>;

// The row of q and of the output that belongs to token t of window b.
fn query_row(b: u32, t: u32) -> u32 {
  return b * params.tokens + t - params.past;
}

// The row of k and of v that belongs to token t of window b, or the row of the last token if t is past the last token.
fn key_row(b: u32, t: u32) -> u32 {
  let keys = params.past + params.tokens;
  return b * keys + min(t, keys - 1);
}

// Stages the quads first … first + SLICE − 1 of the queries from `query` on and of the keys from `key` on. Rows past
// the last token repeat the last token, and their results are not used.
fn stage_slice(local: u32, b: u32, query: u32, key: u32, q_column: u32, k_column: u32, first: u32) {
  let d = 4 * (first + local % SLICE);
  let row = local / SLICE;
  let q_at = q_column + query_row(b, min(query + row, params.past + params.tokens - 1)) * params.ldq + d;
  let k_at = k_column + key_row(b, key + row) * params.ldk + d;
  let slot = local % SLICE * QUERIES + row;
  staged[slot] = params.scale * below_head_dim(d, vec4f(q[q_at], q[q_at + 1], q[q_at + 2], q[q_at + 3]));
  staged[SLICE * QUERIES + slot] = below_head_dim(d, vec4f(k[k_at], k[k_at + 1], k[k_at + 2], k[k_at + 3]));
}

// Stages the values of the keys key … key + VALUES − 1, from dimension `first` on.
fn stage_values(local: u32, b: u32, key: u32, v_column: u32, first: u32) {
  for (var e = local; e < VALUES * EDGE * WIDTH; e += EDGE * EDGE) {
    let d = first + 4 * (e % (EDGE * WIDTH));
    let at = v_column + key_row(b, key + e / (EDGE * WIDTH)) * params.ldv + d;
    staged[e] = below_head_dim(d, vec4f(v[at], v[at + 1], v[at + 2], v[at + 3]));
  }
}

// The dot products of one staged quad of a query with the same quad of this invocation's four keys.
fn dots(quad: vec4f, k0: vec4f, k1: vec4f, k2: vec4f, k3: vec4f) -> vec4f {
  return vec4f(dot(quad, k0), dot(quad, k1), dot(quad, k2), dot(quad, k3));
}

// The scores of query t for the four keys `keys`, from their dot products. The soft cap and then the ALiBi bias are
// applied. The score of a key that the query may not attend to is LOWEST.
fn finish_scores(products: vec4f, keys: vec4u, t: u32, slope: f32) -> vec4f {
  var scores = products;
  if params.soft_cap > 0 {
    scores = soft_cap4(scores, params.soft_cap);
  }
  scores += slope * (vec4f(keys) - vec4f(f32(t)));
  return select(vec4f(LOWEST), scores, (keys >= vec4u(first_key(t))) & (keys <= vec4u(t)));
}

fn largest_of(x: vec4f) -> f32 {
  return max(max(x.x, x.y), max(x.z, x.w));
}

// exp(score − largest) for visible keys, and 0 for others. exp gets a limited argument, so that it does not underflow.
fn exponentials(scores: vec4f, largest: f32) -> vec4f {
  return select(exp(max(scores - largest, vec4f(-87))), vec4f(0), scores == vec4f(LOWEST));
}

// For each of the four queries, the largest number over a row of invocations. `own` has the numbers of this invocation.
fn largest_in_row(own: vec4f, across: u32, down: u32) -> vec4f {
  partial[down * EDGE + across] = own;
  workgroupBarrier();
  var largest = own;
  for (var column = 0u; column < EDGE; column++) {
    largest = max(largest, partial[down * EDGE + column]);
  }
  return largest;
}

// For each of the four queries, the sum of the numbers over a row of invocations.
fn sum_of_row(own: vec4f, across: u32, down: u32) -> vec4f {
  partial[down * EDGE + across] = own;
  workgroupBarrier();
  var sum = vec4f();
  for (var column = 0u; column < EDGE; column++) {
    sum += partial[down * EDGE + column];
  }
  return sum;
}

// Writes a quad of the output of query t, if the query and its dimensions exist.
fn store(t: u32, b: u32, h: u32, d: u32, quad: vec4f) {
  if t >= params.past + params.tokens {
    return;
  }
  let at = query_row(b, t) * params.ldo + h * params.head_dim + d;
  if d < params.head_dim { out[at] = quad.x; }
  if d + 1 < params.head_dim { out[at + 1] = quad.y; }
  if d + 2 < params.head_dim { out[at + 2] = quad.z; }
  if d + 3 < params.head_dim { out[at + 3] = quad.w; }
}

@compute @workgroup_size(EDGE * EDGE)
fn attention(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let first_query = params.past + workgroup.x * QUERIES;
  let parts = (params.head_dim + 64 * WIDTH - 1) / (64 * WIDTH);
  let h = workgroup.y / parts;
  // The first dimension of the part of the output.
  let v_first = workgroup.y % parts * 64 * WIDTH;
  let b = workgroup.z;
  let across = local % EDGE;
  let down = local / EDGE;
  let t = first_query + 4 * down;
  let quads = (params.head_dim + 3) / 4;
  let kv_column = (h * params.kv_heads / params.heads) * params.head_stride;
  let q_column = params.q_offset + h * params.head_stride;
  let k_column = params.k_offset + kv_column;
  let v_column = params.v_offset + kv_column;
  let slope = slopes[h];

  // sums[4·j + i] is quad `across + 16·j` of this part of Σ p·v of query t + i. The output is Σ p·v / Σ p over the visible
  // keys, where p = exp(score − largest). `denominators` has this invocation's share of Σ p of the four queries.
  var sums: array<vec4f, 16>;
  var denominators = vec4f();
  var largest = vec4f(LOWEST);
  if params.has_sinks == 1 {
    largest = vec4f(sinks[h]);
    denominators = vec4f(select(0.0, 1.0, across == 0));
  }

  let end = min(first_query + QUERIES, params.past + params.tokens);
  for (var s0 = first_key(first_query); s0 < end; s0 += KEYS) {
    // The dot products of query t + i with the four keys. They are set to zero explicitly, because naga (a WGSL
    // compiler) initialises a variable that is declared in a loop only once.
    var scores0 = vec4f(0);
    var scores1 = vec4f(0);
    var scores2 = vec4f(0);
    var scores3 = vec4f(0);
    for (var first = 0u; first < quads; first += SLICE) {
      workgroupBarrier(); // now every invocation has used the staged values
      stage_slice(local, b, first_query, s0, q_column, k_column, first);
      workgroupBarrier();
      for (var d = 0u; d < SLICE; d++) {
        let query = d * QUERIES + 4 * down;
        let key = (SLICE + d) * QUERIES + across;
        let k0 = staged[key];
        let k1 = staged[key + EDGE];
        let k2 = staged[key + 2 * EDGE];
        let k3 = staged[key + 3 * EDGE];
        scores0 += dots(staged[query], k0, k1, k2, k3);
        scores1 += dots(staged[query + 1], k0, k1, k2, k3);
        scores2 += dots(staged[query + 2], k0, k1, k2, k3);
        scores3 += dots(staged[query + 3], k0, k1, k2, k3);
      }
    }
    let keys = vec4u(s0 + across) + vec4u(0, EDGE, 2 * EDGE, 3 * EDGE);
    scores0 = finish_scores(scores0, keys, t, slope);
    scores1 = finish_scores(scores1, keys, t + 1, slope);
    scores2 = finish_scores(scores2, keys, t + 2, slope);
    scores3 = finish_scores(scores3, keys, t + 3, slope);
    let own = vec4f(largest_of(scores0), largest_of(scores1), largest_of(scores2), largest_of(scores3));
    let new_largest = largest_in_row(max(largest, own), across, down);
    let rescale = exp(max(largest - new_largest, vec4f(-87)));
    largest = new_largest;
    // p[i][j] is the probability that query t + j gives to key `keys[i]`.
    let p = transpose(mat4x4f(
      exponentials(scores0, largest.x),
      exponentials(scores1, largest.y),
      exponentials(scores2, largest.z),
      exponentials(scores3, largest.w),
    ));
    denominators = denominators * rescale + p[0] + p[1] + p[2] + p[3];
    probabilities[across * EDGE + down] = p[0];
    probabilities[(across + EDGE) * EDGE + down] = p[1];
    probabilities[(across + 2 * EDGE) * EDGE + down] = p[2];
    probabilities[(across + 3 * EDGE) * EDGE + down] = p[3];

    sums[0] *= rescale.x;
    sums[1] *= rescale.y;
    sums[2] *= rescale.z;
    sums[3] *= rescale.w;
    if WIDTH > 1 {
      sums[4] *= rescale.x;
      sums[5] *= rescale.y;
      sums[6] *= rescale.z;
      sums[7] *= rescale.w;
    }
    if WIDTH > 2 {
      sums[8] *= rescale.x;
      sums[9] *= rescale.y;
      sums[10] *= rescale.z;
      sums[11] *= rescale.w;
      sums[12] *= rescale.x;
      sums[13] *= rescale.y;
      sums[14] *= rescale.z;
      sums[15] *= rescale.w;
    }
    for (var s = 0u; s < KEYS; s += VALUES) {
      workgroupBarrier(); // now every invocation has stored its probabilities, and used the staged values
      stage_values(local, b, s0 + s, v_column, v_first);
      workgroupBarrier();
      for (var i = 0u; i < VALUES; i++) {
        let weights = probabilities[(s + i) * EDGE + down];
        let at = i * EDGE * WIDTH + across;
        let v0 = staged[at];
        sums[0] = fma(vec4f(weights.x), v0, sums[0]);
        sums[1] = fma(vec4f(weights.y), v0, sums[1]);
        sums[2] = fma(vec4f(weights.z), v0, sums[2]);
        sums[3] = fma(vec4f(weights.w), v0, sums[3]);
        if WIDTH > 1 {
          let v1 = staged[at + EDGE];
          sums[4] = fma(vec4f(weights.x), v1, sums[4]);
          sums[5] = fma(vec4f(weights.y), v1, sums[5]);
          sums[6] = fma(vec4f(weights.z), v1, sums[6]);
          sums[7] = fma(vec4f(weights.w), v1, sums[7]);
        }
        if WIDTH > 2 {
          let v2 = staged[at + 2 * EDGE];
          sums[8] = fma(vec4f(weights.x), v2, sums[8]);
          sums[9] = fma(vec4f(weights.y), v2, sums[9]);
          sums[10] = fma(vec4f(weights.z), v2, sums[10]);
          sums[11] = fma(vec4f(weights.w), v2, sums[11]);
          let v3 = staged[at + 3 * EDGE];
          sums[12] = fma(vec4f(weights.x), v3, sums[12]);
          sums[13] = fma(vec4f(weights.y), v3, sums[13]);
          sums[14] = fma(vec4f(weights.z), v3, sums[14]);
          sums[15] = fma(vec4f(weights.w), v3, sums[15]);
        }
      }
    }
  }

  let total = sum_of_row(denominators, across, down);
  let d = v_first + 4 * across;
  store(t, b, h, d, sums[0] / total.x);
  store(t + 1, b, h, d, sums[1] / total.y);
  store(t + 2, b, h, d, sums[2] / total.z);
  store(t + 3, b, h, d, sums[3] / total.w);
  if WIDTH > 1 {
    store(t, b, h, d + 4 * EDGE, sums[4] / total.x);
    store(t + 1, b, h, d + 4 * EDGE, sums[5] / total.y);
    store(t + 2, b, h, d + 4 * EDGE, sums[6] / total.z);
    store(t + 3, b, h, d + 4 * EDGE, sums[7] / total.w);
  }
  if WIDTH > 2 {
    store(t, b, h, d + 8 * EDGE, sums[8] / total.x);
    store(t + 1, b, h, d + 8 * EDGE, sums[9] / total.y);
    store(t + 2, b, h, d + 8 * EDGE, sums[10] / total.z);
    store(t + 3, b, h, d + 8 * EDGE, sums[11] / total.w);
    store(t, b, h, d + 12 * EDGE, sums[12] / total.x);
    store(t + 1, b, h, d + 12 * EDGE, sums[13] / total.y);
    store(t + 2, b, h, d + 12 * EDGE, sums[14] / total.z);
    store(t + 3, b, h, d + 12 * EDGE, sums[15] / total.w);
  }
}
