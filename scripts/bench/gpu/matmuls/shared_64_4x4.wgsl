// A matrix product C = A·B in which each workgroup computes a 64×64 tile of C. In each step it copies 64×16
// elements of A and 16×64 elements of B into workgroup memory. Each of its 256 invocations computes a 4×4
// block of C in registers.

struct Params { n: u32 }

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

const TILE = 64u;
const DEPTH = 16u;
// The tile of A is stored transposed: element (i, p) of A is at p · TILE + i.
var<workgroup> a_tile: array<f32, DEPTH * TILE>;
var<workgroup> b_tile: array<f32, DEPTH * TILE>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let n = params.n;
  let i0 = workgroup.y * TILE;
  let j0 = workgroup.x * TILE;
  let i = 4u * (local / 16u);
  let j = 4u * (local % 16u);
  var sums = mat4x4f();
  for (var p0 = 0u; p0 < n; p0 += DEPTH) {
    for (var at = local; at < DEPTH * TILE; at += 256u) {
      a_tile[at % DEPTH * TILE + at / DEPTH] = a[(i0 + at / DEPTH) * n + p0 + at % DEPTH];
      b_tile[at] = b[(p0 + at / TILE) * n + j0 + at % TILE];
    }
    workgroupBarrier();
    for (var p = 0u; p < DEPTH; p++) {
      let at = p * TILE;
      let row = vec4f(b_tile[at + j], b_tile[at + j + 1u], b_tile[at + j + 2u], b_tile[at + j + 3u]);
      sums[0] += a_tile[at + i] * row;
      sums[1] += a_tile[at + i + 1u] * row;
      sums[2] += a_tile[at + i + 2u] * row;
      sums[3] += a_tile[at + i + 3u] * row;
    }
    workgroupBarrier();
  }
  for (var r = 0u; r < 4u; r++) {
    for (var s = 0u; s < 4u; s++) {
      c[(i0 + i + r) * n + j0 + j + s] = sums[r][s];
    }
  }
}
