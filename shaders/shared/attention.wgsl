// What the shaders of attention have in common: the parameters, the bindings, and which keys a query attends to.

struct Params {
  batch: u32,
  tokens: u32,
  past: u32,
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
}

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> slopes: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

// The number of queries per workgroup.
const QUERIES: u32 = 64;
// A number less than every score. It is a stand-in for −∞, because WGSL does not guarantee that infinity
// behaves as in IEEE 754.
const LOWEST: f32 = -1e38;

// The first key that query t may attend to.
fn first_key(t: u32) -> u32 {
  if params.window == 0 || t < params.window {
    return 0;
  }
  return t + 1 - params.window;
}

// Returns `quad`, which holds dimensions d … d + 3, with zeros in place of the dimensions that are not below
// head_dim. For those dimensions, the loads have read unrelated elements.
fn below_head_dim(d: u32, quad: vec4f) -> vec4f {
  return select(vec4f(0), quad, vec4u(d, d + 1, d + 2, d + 3) < vec4u(params.head_dim));
}
