// Applies the rotary position embedding in place. src/device/kernels/forward/rotary.ts describes the buffers. Each
// invocation rotates one pair.

struct Params {
  rows: u32,
  tokens: u32,
  heads: u32,
  head_stride: u32,
  pairs: u32,
  offset: u32,
  ld: u32,
  interleaved: u32,
}

@group(0) @binding(0) var<storage, read> table: array<f32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn rotary(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = linear_index(workgroup, grid, local, 256);
  if index >= params.rows * params.heads * params.pairs {
    return;
  }
  let i = index % params.pairs;
  let h = index / params.pairs % params.heads;
  let r = index / (params.pairs * params.heads);
  let angle = (r % params.tokens) * 2 * params.pairs + i;
  let cosine = table[angle];
  let sine = table[angle + params.pairs];
  let is_interleaved = params.interleaved == 1;
  let low = params.offset + r * params.ld + h * params.head_stride + select(i, 2 * i, is_interleaved);
  let high = low + select(params.pairs, 1, is_interleaved);
  let first = x[low];
  let second = x[high];
  x[low] = first * cosine - second * sine;
  x[high] = second * cosine + first * sine;
}
