// A matrix product C = A·B in which each invocation computes a 4×4 block of C in registers. It reads its
// operands directly from memory, and makes 16 multiply-adds for every 8 loads. No workgroup memory is used.

struct Params { n: u32 }

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let n = params.n;
  let i = 4u * id.y;
  let j = 4u * id.x;
  var sums = mat4x4f();
  for (var p = 0u; p < n; p++) {
    let at = p * n + j;
    let row = vec4f(b[at], b[at + 1u], b[at + 2u], b[at + 3u]);
    sums[0] += a[i * n + p] * row;
    sums[1] += a[(i + 1u) * n + p] * row;
    sums[2] += a[(i + 2u) * n + p] * row;
    sums[3] += a[(i + 3u) * n + p] * row;
  }
  for (var r = 0u; r < 4u; r++) {
    for (var s = 0u; s < 4u; s++) {
      c[(i + r) * n + j + s] = sums[r][s];
    }
  }
}
