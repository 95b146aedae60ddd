// Fills the lower triangle of a tile. src/device/kernels/mirror_upper.ts describes the kernel.

struct Params {
  size: u32,
  ld: u32,
}

@group(0) @binding(0) var<storage, read_write> tile: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(256)
fn mirror_upper(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = linear_index(workgroup, grid, local, 256);
  if index >= params.size * params.size {
    return;
  }
  let i = index / params.size;
  let j = index % params.size;
  if i < j {
    tile[j * params.ld + i] = tile[i * params.ld + j];
  }
}
