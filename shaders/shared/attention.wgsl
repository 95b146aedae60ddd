// The keys that a query attends to, for the shaders of attention and of its gradients. The file that this one is
// appended to declares the parameters.

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
  if params.chunked == 1 {
    return t - t % params.window;
  }
  return t + 1 - params.window;
}

// Returns `quad`, which holds dimensions d … d + 3. Dimensions from head_dim on, for which the loads have
// read unrelated elements, get zeros.
fn below_head_dim(d: u32, quad: vec4f) -> vec4f {
  return select(vec4f(0), quad, vec4u(d, d + 1, d + 2, d + 3) < vec4u(params.head_dim));
}
