// Computes two numbers of each query and head: the log-sum-exp of the scores, and Σ d_out·out. Each workgroup has 64
// consecutive queries of one head. It goes through their keys in chunks of 64, and computes the scores in patches
// (shared/attention_patch.wgsl). Each invocation keeps the largest score of each of its queries, and rescales its sum
// of exponentials when a chunk has a larger score (Milakov and Gimelshein 2018). The invocations combine their sums at
// the end.

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> slopes: array<f32>;
@group(0) @binding(3) var<storage, read> sinks: array<f32>;
@group(0) @binding(4) var<storage, read> out: array<f32>;
@group(0) @binding(5) var<storage, read> d_out: array<f32>;
@group(0) @binding(6) var<storage, read_write> statistics: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

// Each invocation's numbers for its four queries, for sums and maxima over a row of invocations.
var<workgroup> partial: array<vec4f, EDGE * EDGE>;

// The elements at … at + 3 of q or k.
fn load_quad(buffer: u32, at: u32) -> vec4f {
  if buffer == Q {
    return vec4f(q[at], q[at + 1], q[at + 2], q[at + 3]);
  }
  return vec4f(k[at], k[at + 1], k[at + 2], k[at + 3]);
}

// The scores of query t for four keys, from their dot products, and LOWEST for keys that the query does not see.
fn finish_scores(products: vec4f, t: u32, keys: vec4u, slope: f32) -> vec4f {
  var scores = params.scale * products;
  if params.soft_cap > 0 {
    scores = soft_cap4(scores, params.soft_cap);
  }
  scores += alibi(slope, vec4u(t), keys);
  return select(vec4f(LOWEST), scores, visible(vec4u(t), keys));
}

fn largest_of(x: vec4f) -> f32 {
  return max(max(x.x, x.y), max(x.z, x.w));
}

// The sum of exp(score − largest) over the keys that are seen. exp gets a limited argument, so that it does not
// underflow.
fn sum_exponentials(scores: vec4f, largest: f32) -> f32 {
  let terms = select(exp(max(scores - largest, vec4f(-87))), vec4f(0), scores == vec4f(LOWEST));
  return terms.x + terms.y + terms.z + terms.w;
}

// Writes the statistics of query t, if the query exists.
fn store(t: u32, h: u32, b: u32, log_sum: f32, product: f32) {
  let rows = params.batch * params.tokens;
  if t < params.tokens {
    statistics[h * rows + b * params.tokens + t] = log_sum;
    statistics[(params.heads + h) * rows + b * params.tokens + t] = product;
  }
}

@compute @workgroup_size(EDGE * EDGE)
fn attention_statistics(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let first_query = workgroup.x * QUERIES;
  let h = workgroup.y;
  let b = workgroup.z;
  let across = local % EDGE;
  let down = local / EDGE;
  let t = first_query + 4 * down;
  let queries = operand(Q, h, b);
  let keys = operand(K, h, b);
  let slope = slopes[h];

  var largest = vec4f(LOWEST);
  var sums = vec4f();
  if params.has_sinks == 1 {
    largest = vec4f(sinks[h]);
    sums = vec4f(select(0.0, 1.0, across == 0));
  }
  let end = min(first_query + QUERIES, params.tokens);
  for (var s0 = first_key(first_query); s0 < end; s0 += QUERIES) {
    let products = patch_products(queries, first_query, keys, s0, local);
    let s = vec4u(s0 + across) + vec4u(0, EDGE, 2 * EDGE, 3 * EDGE);
    let scores0 = finish_scores(products[0], t, s, slope);
    let scores1 = finish_scores(products[1], t + 1, s, slope);
    let scores2 = finish_scores(products[2], t + 2, s, slope);
    let scores3 = finish_scores(products[3], t + 3, s, slope);
    let own = vec4f(largest_of(scores0), largest_of(scores1), largest_of(scores2), largest_of(scores3));
    let after = max(largest, own);
    sums *= exp(max(largest - after, vec4f(-87)));
    sums += vec4f(
      sum_exponentials(scores0, after.x),
      sum_exponentials(scores1, after.y),
      sum_exponentials(scores2, after.z),
      sum_exponentials(scores3, after.w),
    );
    largest = after;
  }

  // This invocation's share of Σ d_out·out of its four queries. The last row is repeated past the last query.
  var products = vec4f();
  let rows = vec4u(b * params.tokens) + min(vec4u(t, t + 1, t + 2, t + 3), vec4u(params.tokens - 1));
  let starts = rows * params.ldo + vec4u(h * params.head_dim);
  for (var d = across; d < params.head_dim; d += EDGE) {
    let at = starts + vec4u(d);
    products += vec4f(d_out[at.x], d_out[at.y], d_out[at.z], d_out[at.w]) *
      vec4f(out[at.x], out[at.y], out[at.z], out[at.w]);
  }

  partial[local] = largest;
  workgroupBarrier();
  var largest_in_row = largest;
  for (var column = 0u; column < EDGE; column++) {
    largest_in_row = max(largest_in_row, partial[down * EDGE + column]);
  }
  workgroupBarrier(); // now every invocation has read the maxima
  partial[local] = sums * exp(max(largest - largest_in_row, vec4f(-87)));
  staged[local] = products;
  workgroupBarrier();
  if across > 0 {
    return;
  }
  var total = vec4f();
  var product = vec4f();
  for (var column = 0u; column < EDGE; column++) {
    total += partial[down * EDGE + column];
    product += staged[down * EDGE + column];
  }
  let log_sums = largest_in_row + log(total);
  store(t, h, b, log_sums.x, product.x);
  store(t + 1, h, b, log_sums.y, product.y);
  store(t + 2, h, b, log_sums.z, product.z);
  store(t + 3, h, b, log_sums.w, product.w);
}
