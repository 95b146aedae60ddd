// The parameters of the shaders of the gradients of attention, and the dot products of 64 rows with 64 columns. A row
// or a column is a token's part of an operand, such as its query of one head. The invocations form a square, and each
// of them computes 4 × 4 of the products. The shaders define `load_quad`.

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
  soft_cap: f32,
  chunked: u32,
  has_sinks: u32,
}

// Invocation (across, down) has the rows 4·down … 4·down + 3 and the columns across + 16·j.
const EDGE: u32 = 16;
// The number of quads of a head per slice. One slice of the rows and of the columns is staged at a time.
const SLICE: u32 = 4;
// A slice of the rows and then one of the columns, with shape (2, SLICE, 64).
var<workgroup> staged: array<vec4f, 2 * SLICE * QUERIES>;

// The buffers of the operands.
const Q: u32 = 0;
const K: u32 = 1;
const V: u32 = 2;
const D_OUT: u32 = 3;

// An operand for one head and one window: its buffer, the element at which the head starts in the first row of the
// window, and the distance between two rows.
struct Operand {
  buffer: u32,
  start: u32,
  ld: u32,
}

// The operand in `buffer` for query head h and window b.
fn operand(buffer: u32, h: u32, b: u32) -> Operand {
  let row = b * params.tokens;
  let kv_column = (h * params.kv_heads / params.heads) * params.head_stride;
  switch buffer {
    case Q: {
      return Operand(Q, params.q_offset + h * params.head_stride + row * params.ldq, params.ldq);
    }
    case K: {
      return Operand(K, params.k_offset + kv_column + row * params.ldk, params.ldk);
    }
    case V: {
      return Operand(V, params.v_offset + kv_column + row * params.ldv, params.ldv);
    }
    default: {
      return Operand(D_OUT, h * params.head_dim + row * params.ldo, params.ldo);
    }
  }
}

// The dimensions d … d + 3 of token t, with zeros past head_dim. Tokens past the last one repeat the last one, and
// their results are not used.
fn token_quad(x: Operand, t: u32, d: u32) -> vec4f {
  return below_head_dim(d, load_quad(x.buffer, x.start + min(t, params.tokens - 1) * x.ld + d));
}

// Column i of the result has the dot products of row 4·down + i with this invocation's four columns, for quad `quad`
// of the staged slices.
fn quad_products(quad: u32, across: u32, down: u32) -> mat4x4f {
  let row = quad * QUERIES + 4 * down;
  let column = (SLICE + quad) * QUERIES + across;
  let columns = mat4x4f(
    staged[column],
    staged[column + EDGE],
    staged[column + 2 * EDGE],
    staged[column + 3 * EDGE],
  );
  return mat4x4f(
    staged[row] * columns,
    staged[row + 1] * columns,
    staged[row + 2] * columns,
    staged[row + 3] * columns,
  );
}

// Column i of the result has the dot products of row `row` + 4·down + i with the columns `column` + across + 16·j.
fn patch_products(rows: Operand, row: u32, columns: Operand, column: u32, local: u32) -> mat4x4f {
  let across = local % EDGE;
  let down = local / EDGE;
  let quads = (params.head_dim + 3) / 4;
  var products = mat4x4f();
  for (var first = 0u; first < quads; first += SLICE) {
    workgroupBarrier(); // now every invocation has used the staged values
    let d = 4 * (first + local % SLICE);
    let slot = local % SLICE * QUERIES + local / SLICE;
    staged[slot] = token_quad(rows, row + local / SLICE, d);
    staged[SLICE * QUERIES + slot] = token_quad(columns, column + local / SLICE, d);
    workgroupBarrier();
    products += quad_products(0, across, down);
    products += quad_products(1, across, down);
    products += quad_products(2, across, down);
    products += quad_products(3, across, down);
  }
  return products;
}

// Which of four pairs of a query and a key exist and see each other.
fn visible(queries: vec4u, keys: vec4u) -> vec4<bool> {
  let first = vec4u(first_key(queries.x), first_key(queries.y), first_key(queries.z), first_key(queries.w));
  return (keys >= first) & (keys <= queries) & (queries < vec4u(params.tokens));
}

// The ALiBi biases of four pairs of a query and a key.
fn alibi(slope: f32, queries: vec4u, keys: vec4u) -> vec4f {
  return slope * (vec4f(keys) - vec4f(queries));
}
