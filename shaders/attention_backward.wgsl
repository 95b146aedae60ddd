// The gradients of causal self-attention with respect to the queries, the keys or the values. Each workgroup computes
// the gradient of 64 consecutive rows of one head, which are queries, keys or values. It goes through the tokens that
// the rows see, or that see the rows, in chunks of 64 columns. For each chunk, it computes the products of queries and
// keys, and of output gradients and values, in patches (shared/attention_patch.wgsl). It turns them into the factors of
// the columns, and adds up the columns times their factors. All sums stay in registers, as in attention_tiled.wgsl,
// and every sum has a fixed order.

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> slopes: array<f32>;
@group(0) @binding(4) var<storage, read> d_out: array<f32>;
@group(0) @binding(5) var<storage, read> statistics: array<f32>;
@group(0) @binding(6) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

// The number of quads of a head that each invocation adds up: 1, 2 or 4. A head has at most 64·WIDTH dimensions.
override WIDTH: u32 = 4;
// The number of columns that are staged at a time to be added up.
override COLUMNS: u32 = 32 / WIDTH;
// The factors of a chunk. Element s·EDGE + down has the factors of column s for the four rows of row `down` of the
// invocations.
var<workgroup> factors: array<vec4f, QUERIES * EDGE>;

// The elements at … at + 3 of an operand.
fn load_quad(buffer: u32, at: u32) -> vec4f {
  switch buffer {
    case Q: {
      return vec4f(q[at], q[at + 1], q[at + 2], q[at + 3]);
    }
    case K: {
      return vec4f(k[at], k[at + 1], k[at + 2], k[at + 3]);
    }
    case V: {
      return vec4f(v[at], v[at + 1], v[at + 2], v[at + 3]);
    }
    default: {
      return vec4f(d_out[at], d_out[at + 1], d_out[at + 2], d_out[at + 3]);
    }
  }
}

// Statistics of four queries of one head. `first` is the index of the numbers of the window's first query.
fn load_statistics(first: u32, queries: vec4u) -> vec4f {
  let at = vec4u(first) + min(queries, vec4u(params.tokens - 1));
  return vec4f(statistics[at.x], statistics[at.y], statistics[at.z], statistics[at.w]);
}

// The factors of four pairs of a query and a key: the softmax p for the gradient of the values, and otherwise the
// gradients of the products q·k. `products` are these products, and `d_p` the products d_out·v.
fn pair_factors(of: u32, products: vec4f, d_p: vec4f, queries: vec4u, keys: vec4u, h: u32, b: u32) -> vec4f {
  let rows = params.batch * params.tokens;
  let first = h * rows + b * params.tokens;
  var scores = params.scale * products;
  var slope_of_cap = vec4f(1);
  if params.soft_cap > 0 {
    let t = tanh4(scores / params.soft_cap);
    scores = params.soft_cap * t;
    slope_of_cap -= t * t;
  }
  scores += alibi(slopes[h], queries, keys);
  // The argument of exp is limited so that exp neither overflows nor underflows for pairs that do not see each other.
  let exponents = clamp(scores - load_statistics(first, queries), vec4f(-87), vec4f(80));
  let p = select(vec4f(), exp(exponents), visible(queries, keys));
  if of == V {
    return p;
  }
  let means = load_statistics(first + params.heads * rows, queries);
  return params.scale * p * (d_p - means) * slope_of_cap;
}

// Stages the tokens t … t + COLUMNS − 1 of an operand, with shape (COLUMNS, 16·WIDTH).
fn stage_columns(x: Operand, t: u32, local: u32) {
  for (var e = local; e < COLUMNS * EDGE * WIDTH; e += EDGE * EDGE) {
    staged[e] = token_quad(x, t + e / (EDGE * WIDTH), 4 * (e % (EDGE * WIDTH)));
  }
}

// This invocation's sums. Element 4·j + i is quad across + 16·j of row i.
var<private> sums: array<vec4f, 16>;

// Adds staged column i times the factors of column s.
fn add_column(s: u32, i: u32, across: u32, down: u32) {
  let weights = factors[s * EDGE + down];
  let at = i * EDGE * WIDTH + across;
  let x0 = staged[at];
  sums[0] = fma(vec4f(weights.x), x0, sums[0]);
  sums[1] = fma(vec4f(weights.y), x0, sums[1]);
  sums[2] = fma(vec4f(weights.z), x0, sums[2]);
  sums[3] = fma(vec4f(weights.w), x0, sums[3]);
  if WIDTH > 1 {
    let x1 = staged[at + EDGE];
    sums[4] = fma(vec4f(weights.x), x1, sums[4]);
    sums[5] = fma(vec4f(weights.y), x1, sums[5]);
    sums[6] = fma(vec4f(weights.z), x1, sums[6]);
    sums[7] = fma(vec4f(weights.w), x1, sums[7]);
  }
  if WIDTH > 2 {
    let x2 = staged[at + 2 * EDGE];
    sums[8] = fma(vec4f(weights.x), x2, sums[8]);
    sums[9] = fma(vec4f(weights.y), x2, sums[9]);
    sums[10] = fma(vec4f(weights.z), x2, sums[10]);
    sums[11] = fma(vec4f(weights.w), x2, sums[11]);
    let x3 = staged[at + 3 * EDGE];
    sums[12] = fma(vec4f(weights.x), x3, sums[12]);
    sums[13] = fma(vec4f(weights.y), x3, sums[13]);
    sums[14] = fma(vec4f(weights.z), x3, sums[14]);
    sums[15] = fma(vec4f(weights.w), x3, sums[15]);
  }
}

// Adds a quad to dimensions d … d + 3 of token t of the gradient, if the token and the dimensions exist.
fn add_to_gradient(x: Operand, t: u32, d: u32, quad: vec4f) {
  if t >= params.tokens {
    return;
  }
  let at = x.start + t * x.ld + d;
  if d < params.head_dim { gradient[at] += quad.x; }
  if d + 1 < params.head_dim { gradient[at + 1] += quad.y; }
  if d + 2 < params.head_dim { gradient[at + 2] += quad.z; }
  if d + 3 < params.head_dim { gradient[at + 3] += quad.w; }
}

// The first of the columns that the rows row … row + 63 see, or that see them.
fn first_column(of: u32, row: u32) -> u32 {
  return select(row, first_key(row), of == Q);
}

// The end of these columns.
fn end_column(of: u32, row: u32) -> u32 {
  if of == Q {
    return min(row + QUERIES, params.tokens);
  }
  if params.window == 0 || params.window > params.tokens {
    return params.tokens;
  }
  return min(row + QUERIES - 1 + params.window, params.tokens);
}

// Adds the gradient with respect to operand `of`, which is Q, K or V.
fn add_gradient(of: u32, workgroup: vec3u, local: u32) {
  let row0 = workgroup.x * QUERIES;
  let b = workgroup.z;
  let across = local % EDGE;
  let down = local / EDGE;
  let row = row0 + 4 * down;
  // The query heads: one, or those that share this head of k and v.
  let shares = of != Q;
  let first_head = select(workgroup.y, (workgroup.y * params.heads + params.kv_heads - 1) / params.kv_heads, shares);
  let end_head =
    select(workgroup.y + 1, ((workgroup.y + 1) * params.heads + params.kv_heads - 1) / params.kv_heads, shares);

  for (var h = first_head; h < end_head; h++) {
    let rows = operand(select(K, Q, of == Q), h, b);
    let d_p_rows = operand(select(V, D_OUT, of == Q), h, b);
    let columns = operand(select(Q, K, of == Q), h, b);
    let d_p_columns = operand(select(D_OUT, V, of == Q), h, b);
    let added = operand(select(select(Q, K, of == Q), D_OUT, of == V), h, b);
    let end = end_column(of, row0);
    for (var column0 = first_column(of, row0); column0 < end; column0 += QUERIES) {
      let products = patch_products(rows, row0, columns, column0, local);
      var d_p = mat4x4f();
      if of != V {
        d_p = patch_products(d_p_rows, row0, d_p_columns, column0, local);
      }
      let tokens = vec4u(column0 + across) + vec4u(0, EDGE, 2 * EDGE, 3 * EDGE);
      var pairs = mat4x4f();
      if of == Q {
        pairs = mat4x4f(
          pair_factors(of, products[0], d_p[0], vec4u(row), tokens, h, b),
          pair_factors(of, products[1], d_p[1], vec4u(row + 1), tokens, h, b),
          pair_factors(of, products[2], d_p[2], vec4u(row + 2), tokens, h, b),
          pair_factors(of, products[3], d_p[3], vec4u(row + 3), tokens, h, b),
        );
      } else {
        pairs = mat4x4f(
          pair_factors(of, products[0], d_p[0], tokens, vec4u(row), h, b),
          pair_factors(of, products[1], d_p[1], tokens, vec4u(row + 1), h, b),
          pair_factors(of, products[2], d_p[2], tokens, vec4u(row + 2), h, b),
          pair_factors(of, products[3], d_p[3], tokens, vec4u(row + 3), h, b),
        );
      }
      // Now column j has the factors of column `tokens[j]`.
      let by_column = transpose(pairs);
      factors[across * EDGE + down] = by_column[0];
      factors[(across + EDGE) * EDGE + down] = by_column[1];
      factors[(across + 2 * EDGE) * EDGE + down] = by_column[2];
      factors[(across + 3 * EDGE) * EDGE + down] = by_column[3];
      for (var s = 0u; s < QUERIES; s += COLUMNS) {
        workgroupBarrier(); // now every invocation has stored its factors, and used what was staged before
        stage_columns(added, column0 + s, local);
        workgroupBarrier();
        for (var i = 0u; i < COLUMNS; i += 4) {
          add_column(s + i, i, across, down);
          add_column(s + i + 1, i + 1, across, down);
          add_column(s + i + 2, i + 2, across, down);
          add_column(s + i + 3, i + 3, across, down);
        }
      }
    }
  }

  let changed = operand(of, first_head, b);
  let d = 4 * across;
  add_to_gradient(changed, row, d, sums[0]);
  add_to_gradient(changed, row + 1, d, sums[1]);
  add_to_gradient(changed, row + 2, d, sums[2]);
  add_to_gradient(changed, row + 3, d, sums[3]);
  if WIDTH > 1 {
    add_to_gradient(changed, row, d + 4 * EDGE, sums[4]);
    add_to_gradient(changed, row + 1, d + 4 * EDGE, sums[5]);
    add_to_gradient(changed, row + 2, d + 4 * EDGE, sums[6]);
    add_to_gradient(changed, row + 3, d + 4 * EDGE, sums[7]);
  }
  if WIDTH > 2 {
    add_to_gradient(changed, row, d + 8 * EDGE, sums[8]);
    add_to_gradient(changed, row + 1, d + 8 * EDGE, sums[9]);
    add_to_gradient(changed, row + 2, d + 8 * EDGE, sums[10]);
    add_to_gradient(changed, row + 3, d + 8 * EDGE, sums[11]);
    add_to_gradient(changed, row, d + 12 * EDGE, sums[12]);
    add_to_gradient(changed, row + 1, d + 12 * EDGE, sums[13]);
    add_to_gradient(changed, row + 2, d + 12 * EDGE, sums[14]);
    add_to_gradient(changed, row + 3, d + 12 * EDGE, sums[15]);
  }
}

@compute @workgroup_size(EDGE * EDGE)
fn attention_queries_backward(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  add_gradient(Q, workgroup, local);
}

@compute @workgroup_size(EDGE * EDGE)
fn attention_keys_backward(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  add_gradient(K, workgroup, local);
}

@compute @workgroup_size(EDGE * EDGE)
fn attention_values_backward(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  add_gradient(V, workgroup, local);
}
