// The parameters and the bindings of the shaders of attention. shared/attention.wgsl is appended to this file.

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
  chunked: u32,
  has_sinks: u32,
}

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> slopes: array<f32>;
@group(0) @binding(4) var<storage, read> sinks: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;
