// A matrix product C = A·B that copies 32×32 tiles of A and B into workgroup memory. This is the textbook
// improvement of the naive product. A workgroup has 32×8 invocations, and each invocation computes four
// elements of one column of C.

struct Params { n: u32 }

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

const TILE = 32u;
var<workgroup> a_tile: array<f32, TILE * TILE>;
var<workgroup> b_tile: array<f32, TILE * TILE>;

@compute @workgroup_size(32, 8)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let n = params.n;
  let i0 = workgroup.y * TILE;
  let j = workgroup.x * TILE + local.x;
  var sums: vec4f;
  for (var p0 = 0u; p0 < n; p0 += TILE) {
    for (var r = local.y; r < TILE; r += 8u) {
      a_tile[r * TILE + local.x] = a[(i0 + r) * n + p0 + local.x];
      b_tile[r * TILE + local.x] = b[(p0 + r) * n + j];
    }
    workgroupBarrier();
    for (var p = 0u; p < TILE; p++) {
      let x = b_tile[p * TILE + local.x];
      sums += x * vec4f(
        a_tile[local.y * TILE + p],
        a_tile[(local.y + 8u) * TILE + p],
        a_tile[(local.y + 16u) * TILE + p],
        a_tile[(local.y + 24u) * TILE + p],
      );
    }
    workgroupBarrier();
  }
  for (var r = 0u; r < 4u; r++) {
    c[(i0 + local.y + 8u * r) * n + j] = sums[r];
  }
}
