// A matrix product C = A·B in which each invocation computes an 8×8 block of C in registers. B and C are
// bound as arrays of vec4f. An invocation makes 64 multiply-adds for every 8 scalar loads and 2 loads of a
// vec4f.

struct Params { n: u32 }

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let n = params.n;
  let quads = n / 4u;
  let i = 8u * id.y;
  let j = 2u * id.x;
  var sums: array<vec4f, 16>;
  for (var p = 0u; p < n; p++) {
    let low = b[p * quads + j];
    let high = b[p * quads + j + 1u];
    for (var r = 0u; r < 8u; r++) {
      let x = a[(i + r) * n + p];
      sums[2u * r] += x * low;
      sums[2u * r + 1u] += x * high;
    }
  }
  for (var r = 0u; r < 8u; r++) {
    c[(i + r) * quads + j] = sums[2u * r];
    c[(i + r) * quads + j + 1u] = sums[2u * r + 1u];
  }
}
