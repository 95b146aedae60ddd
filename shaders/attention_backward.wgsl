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

// The number of quads of a head that each invocation adds up: 1, 2 or 4. A workgroup adds up at most 64·WIDTH dimensions.
// If a head has more, each part of the gradient has a workgroup of its own.
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

// The factors of the pairs of a row with four columns. They are the softmax p for the gradient of the values, and
// otherwise the gradients of the products q·k. `row` and `columns` are tokens, `products` are the products q·k, and
// `d_p` the products d_out·v.
fn pair_factors(variable: u32, products: vec4f, d_p: vec4f, row: u32, columns: vec4u, h: u32, b: u32) -> vec4f {
  let queries = select(columns, vec4u(row), variable == Q);
  let keys = select(vec4u(row), columns, variable == Q);
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
  if variable == V {
    return p;
  }
  let means = load_statistics(first + params.heads * rows, queries);
  return params.scale * p * (d_p - means) * slope_of_cap;
}

// Stages the tokens t … t + COLUMNS − 1 of an operand from dimension `first` on, with shape (COLUMNS, 16·WIDTH).
fn stage_columns(x: Operand, t: u32, first: u32, local: u32) {
  for (var e = local; e < COLUMNS * EDGE * WIDTH; e += EDGE * EDGE) {
    staged[e] = token_quad(x, t + e / (EDGE * WIDTH), first + 4 * (e % (EDGE * WIDTH)));
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

// Adds the sums of all invocations for 16 quads of 64 rows to the gradient, from token t and dimension d on. `x0` …
// `x3` are this invocation's quads of its four rows. They pass through workgroup memory, so that neighbouring
// invocations write neighbouring elements.
fn add_to_gradient(x: Operand, t: u32, d: u32, local: u32, x0: vec4f, x1: vec4f, x2: vec4f, x3: vec4f) {
  let at = local / EDGE * 4 * EDGE + local % EDGE;
  workgroupBarrier(); // now every invocation has used what `factors` had
  factors[at] = x0;
  factors[at + EDGE] = x1;
  factors[at + 2 * EDGE] = x2;
  factors[at + 3 * EDGE] = x3;
  workgroupBarrier();
  for (var e = local; e < QUERIES * 4 * EDGE; e += EDGE * EDGE) {
    let row = t + e / (4 * EDGE);
    let column = d + e % (4 * EDGE);
    if row < params.tokens && column < params.head_dim {
      gradient[x.start + row * x.ld + column] += factors[e / 4][e % 4];
    }
  }
}

// The first of the columns that the rows row … row + 63 see, or that see them.
fn first_column(variable: u32, row: u32) -> u32 {
  return select(row, first_key(row), variable == Q);
}

// The end of these columns.
fn end_column(variable: u32, row: u32) -> u32 {
  if variable == Q {
    return min(row + QUERIES, params.tokens);
  }
  if params.window == 0 {
    return params.tokens;
  }
  return min(row + QUERIES - 1 + params.window, params.tokens);
}

// Adds the gradient with respect to `variable`, which is Q, K or V.
fn add_gradient(variable: u32, workgroup: vec3u, local: u32) {
  let row0 = workgroup.x * QUERIES;
  let b = workgroup.z;
  let across = local % EDGE;
  let down = local / EDGE;
  let row = row0 + 4 * down;
  let parts = (params.head_dim + 64 * WIDTH - 1) / (64 * WIDTH);
  let head = workgroup.y / parts;
  // The first dimension of the part of the gradient.
  let d = workgroup.y % parts * 64 * WIDTH;
  // The query heads: one, or all heads that share this head of k and v.
  let shares = variable != Q;
  let first_head = select(head, (head * params.heads + params.kv_heads - 1) / params.kv_heads, shares);
  let end_head =
    select(head + 1, ((head + 1) * params.heads + params.kv_heads - 1) / params.kv_heads, shares);

  for (var h = first_head; h < end_head; h++) {
    let rows = operand(select(K, Q, variable == Q), h, b);
    let d_p_rows = operand(select(V, D_OUT, variable == Q), h, b);
    let columns = operand(select(Q, K, variable == Q), h, b);
    let d_p_columns = operand(select(D_OUT, V, variable == Q), h, b);
    let added = operand(select(select(Q, K, variable == Q), D_OUT, variable == V), h, b);
    let end = end_column(variable, row0);
    for (var column0 = first_column(variable, row0); column0 < end; column0 += QUERIES) {
      let products = patch_products(rows, row0, columns, column0, local);
      var d_p = mat4x4f();
      if variable != V {
        d_p = patch_products(d_p_rows, row0, d_p_columns, column0, local);
      }
      let tokens = vec4u(column0 + across) + vec4u(0, EDGE, 2 * EDGE, 3 * EDGE);
      let pairs = mat4x4f(
        pair_factors(variable, products[0], d_p[0], row, tokens, h, b),
        pair_factors(variable, products[1], d_p[1], row + 1, tokens, h, b),
        pair_factors(variable, products[2], d_p[2], row + 2, tokens, h, b),
        pair_factors(variable, products[3], d_p[3], row + 3, tokens, h, b),
      );
      // Now column j has the factors of column `tokens[j]`.
      let by_column = transpose(pairs);
      factors[across * EDGE + down] = by_column[0];
      factors[(across + EDGE) * EDGE + down] = by_column[1];
      factors[(across + 2 * EDGE) * EDGE + down] = by_column[2];
      factors[(across + 3 * EDGE) * EDGE + down] = by_column[3];
      for (var s = 0u; s < QUERIES; s += COLUMNS) {
        workgroupBarrier(); // now every invocation has stored its factors, and used the staged values
        stage_columns(added, column0 + s, d, local);
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

  let changed = operand(variable, first_head, b);
  add_to_gradient(changed, row0, d, local, sums[0], sums[1], sums[2], sums[3]);
  if WIDTH > 1 {
    add_to_gradient(changed, row0, d + 4 * EDGE, local, sums[4], sums[5], sums[6], sums[7]);
  }
  if WIDTH > 2 {
    add_to_gradient(changed, row0, d + 8 * EDGE, local, sums[8], sums[9], sums[10], sums[11]);
    add_to_gradient(changed, row0, d + 12 * EDGE, local, sums[12], sums[13], sums[14], sums[15]);
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
