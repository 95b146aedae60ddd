// Causal self-attention. Each invocation computes the output of one query of one head, and each workgroup handles 64
// consecutive queries. The workgroup stages a chunk of 16 keys in workgroup memory, then their values, and then moves
// on to the next chunk.
//
// The softmax is computed online (Milakov and Gimelshein 2018). Each invocation keeps the largest score so far, and
// rescales its sums when a chunk has a larger score. The sums of an invocation are too long for registers, so they are
// read and written once per chunk and not once per key. The loops over the keys of a chunk are written out, because not
// every driver unrolls loops.

// Keys per chunk.
const KEYS: u32 = 16;
// The quads of the widest heads, which have 512 dimensions. A quad has zeros past head_dim.
const MAX_QUADS: u32 = 128;
// The most quads of a key that are staged at a time, and the most quads of the output of a workgroup. A head with more
// quads is divided into parts. Each part of its output has a workgroup of its own.
const PART: u32 = 64;
// A part of the keys of the current chunk, and later of its values, with shape (KEYS, quads of the part).
var<workgroup> chunk: array<vec4f, KEYS * PART>;

// Dimensions d … d + 3 of the key that starts at k[start].
fn load_key(start: u32, d: u32) -> vec4f {
  let at = start + d;
  return below_head_dim(d, vec4f(k[at], k[at + 1], k[at + 2], k[at + 3]));
}

// Dimensions d … d + 3 of the value that starts at v[start].
fn load_value(start: u32, d: u32) -> vec4f {
  let at = start + d;
  return below_head_dim(d, vec4f(v[at], v[at + 1], v[at + 2], v[at + 3]));
}

// The query of this invocation, times the factor of scores.
var<private> query: array<vec4f, MAX_QUADS>;

// Whether query t may attend to each of the keys s … s + 3, where `low` is the first key that the query may
// attend to.
fn visible(s: u32, low: u32, t: u32) -> vec4<bool> {
  let keys = vec4u(s, s + 1, s + 2, s + 3);
  return (keys >= vec4u(low)) & (keys <= vec4u(t));
}

// The dot products of a quad of the query with the same quad of four staged keys. The quad of the first key
// is chunk[at].
fn dots(quad: vec4f, at: u32, quads: u32) -> vec4f {
  return vec4f(
    dot(quad, chunk[at]),
    dot(quad, chunk[at + quads]),
    dot(quad, chunk[at + 2 * quads]),
    dot(quad, chunk[at + 3 * quads]),
  );
}

// Stages the quads first … first + quads − 1 of a chunk of keys. Column i of the result has their dot products with the
// query, for the keys 4i … 4i + 3 of the chunk. The chunk begins with the key that starts at k[start]. `last` is the
// last key of the chunk that exists, and the others repeat it.
fn part_products(start: u32, last: u32, first: u32, quads: u32, local: u32) -> mat4x4f {
  workgroupBarrier(); // now every invocation has used the staged values
  for (var e = local; e < KEYS * quads; e += QUERIES) {
    chunk[e] = load_key(start + min(e / quads, last) * params.ldk, 4 * (first + e % quads));
  }
  workgroupBarrier();
  var products = mat4x4f();
  for (var d = 0u; d < quads; d++) {
    let quad = query[first + d];
    products[0] += dots(quad, d, quads);
    products[1] += dots(quad, d + 4 * quads, quads);
    products[2] += dots(quad, d + 8 * quads, quads);
    products[3] += dots(quad, d + 12 * quads, quads);
  }
  return products;
}

// The ALiBi biases of query t for the keys s … s + 3.
fn alibi(slope: f32, s: u32, t: u32) -> vec4f {
  return slope * (vec4f(vec4u(s, s + 1, s + 2, s + 3)) - vec4f(f32(t)));
}

// The largest of `largest` and the scores of visible keys.
fn max_score(largest: f32, scores: vec4f, is_visible: vec4<bool>) -> f32 {
  let candidates = select(vec4f(LOWEST), scores, is_visible);
  return max(max(max(max(largest, candidates.x), candidates.y), candidates.z), candidates.w);
}

// exp(score − largest) for visible keys, and 0 for others. exp gets a limited argument, so that it neither overflows
// nor underflows.
fn exponentials(scores: vec4f, largest: f32, is_visible: vec4<bool>) -> vec4f {
  return select(vec4f(0), exp(max(min(scores - largest, vec4f(0)), vec4f(-87))), is_visible);
}

// `sum` plus the four terms, added in order.
fn add_terms(sum: f32, terms: vec4f) -> f32 {
  return sum + terms.x + terms.y + terms.z + terms.w;
}

// `sum` plus the same quad of four staged values, each multiplied by its probability. The quad of the first
// value is chunk[at].
fn add_values(sum: vec4f, probabilities: vec4f, at: u32, quads: u32) -> vec4f {
  var quad = sum;
  quad += probabilities.x * chunk[at];
  quad += probabilities.y * chunk[at + quads];
  quad += probabilities.z * chunk[at + 2 * quads];
  quad += probabilities.w * chunk[at + 3 * quads];
  return quad;
}

@compute @workgroup_size(QUERIES)
fn attention(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let keys = params.past + params.tokens;
  let first_query = params.past + workgroup.x * QUERIES;
  let t = first_query + local;
  let all_quads = (params.head_dim + 3) / 4;
  let parts = (all_quads + PART - 1) / PART;
  let h = workgroup.y / parts;
  // The part of the values, and the same part of the output.
  let v_first = workgroup.y % parts * PART;
  let v_quads = min(PART, all_quads - v_first);
  let row = workgroup.z * params.tokens + t - params.past;
  let first_row = workgroup.z * keys;
  let in_range = t < keys;
  let kv_column = (h * params.kv_heads / params.heads) * params.head_stride;
  let k_start = params.k_offset + kv_column;
  let v_start = params.v_offset + kv_column;
  let slope = slopes[h];

  // The output is Σ p·v / Σ p over the visible keys, where p = exp(score − largest). `sum` is the numerator.
  var sum: array<vec4f, PART>;
  var denominator = 0.0;
  var largest = LOWEST;
  if params.has_sinks == 1 {
    largest = sinks[h];
    denominator = 1.0;
  }
  if in_range {
    let q_start = params.q_offset + row * params.ldq + h * params.head_stride;
    for (var d = 0u; d < params.head_dim; d++) {
      query[d / 4][d % 4] = params.scale * q[q_start + d];
    }
  }

  // The workgroup needs the keys before `end`. The query of this invocation attends to the keys low … t.
  let end = min(first_query + QUERIES, keys);
  let low = first_key(t);
  for (var s0 = first_key(first_query); s0 < end; s0 += KEYS) {
    // The scores of the 16 keys.
    let k_chunk = k_start + (first_row + s0) * params.ldk;
    var scores = part_products(k_chunk, end - 1 - s0, 0, min(PART, all_quads), local);
    if all_quads > PART {
      scores += part_products(k_chunk, end - 1 - s0, PART, all_quads - PART, local);
    }
    var scores0 = scores[0];
    var scores1 = scores[1];
    var scores2 = scores[2];
    var scores3 = scores[3];
    if params.soft_cap > 0 {
      scores0 = soft_cap4(scores0, params.soft_cap);
      scores1 = soft_cap4(scores1, params.soft_cap);
      scores2 = soft_cap4(scores2, params.soft_cap);
      scores3 = soft_cap4(scores3, params.soft_cap);
    }
    scores0 += alibi(slope, s0, t);
    scores1 += alibi(slope, s0 + 4, t);
    scores2 += alibi(slope, s0 + 8, t);
    scores3 += alibi(slope, s0 + 12, t);
    let visible0 = visible(s0, low, t);
    let visible1 = visible(s0 + 4, low, t);
    let visible2 = visible(s0 + 8, low, t);
    let visible3 = visible(s0 + 12, low, t);
    var new_largest = max_score(largest, scores0, visible0);
    new_largest = max_score(new_largest, scores1, visible1);
    new_largest = max_score(new_largest, scores2, visible2);
    new_largest = max_score(new_largest, scores3, visible3);
    let rescale = exp(max(largest - new_largest, -87));
    largest = new_largest;
    let p0 = exponentials(scores0, largest, visible0);
    let p1 = exponentials(scores1, largest, visible1);
    let p2 = exponentials(scores2, largest, visible2);
    let p3 = exponentials(scores3, largest, visible3);
    denominator *= rescale;
    denominator = add_terms(add_terms(add_terms(add_terms(denominator, p0), p1), p2), p3);

    workgroupBarrier(); // now every invocation has used the keys
    for (var e = local; e < KEYS * v_quads; e += QUERIES) {
      let s = min(s0 + e / v_quads, end - 1);
      chunk[e] = load_value(v_start + (first_row + s) * params.ldv, 4 * (v_first + e % v_quads));
    }
    workgroupBarrier();
    for (var d = 0u; d < v_quads; d++) {
      var quad = sum[d] * rescale;
      quad = add_values(quad, p0, d, v_quads);
      quad = add_values(quad, p1, d + 4 * v_quads, v_quads);
      quad = add_values(quad, p2, d + 8 * v_quads, v_quads);
      quad = add_values(quad, p3, d + 12 * v_quads, v_quads);
      sum[d] = quad;
    }
  }

  if in_range {
    let out_start = row * params.ldo + h * params.head_dim + 4 * v_first;
    let dims = min(4 * PART, params.head_dim - 4 * v_first);
    for (var d = 0u; d < dims; d++) {
      out[out_start + d] = sum[d / 4][d % 4] / denominator;
    }
  }
}
