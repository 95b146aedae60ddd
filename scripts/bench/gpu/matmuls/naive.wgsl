// The simplest WGSL matrix product: one invocation per element of C and 16×16 invocations per workgroup. Every operand is
// read from memory each time it is used.

struct Params { n: u32 }

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let n = params.n;
  var sum = 0.0;
  for (var p = 0u; p < n; p++) {
    sum += a[id.y * n + p] * b[p * n + id.x];
  }
  c[id.y * n + id.x] = sum;
}
