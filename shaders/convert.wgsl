// f32 to and from f16 (IEEE binary16) and bf16, in integer arithmetic throughout: WGSL's own conversions and
// float operations may flush subnormals, and promise nothing for NaN and infinity.

const F32: u32 = 0;
const F16: u32 = 1;

struct ToParams {
  count: u32,
  dtype: u32,
  source_offset: u32,
  target_offset: u32,
}

struct FromParams {
  count: u32,
  dtype: u32,
  source_offset: u32,
}

// Packed elements, two halves a word.
@group(0) @binding(0) var<storage, read> packed_source: array<u32>;
// f32 bits.
@group(0) @binding(1) var<storage, read_write> wide_target: array<u32>;
@group(0) @binding(2) var<uniform> to_params: ToParams;

// f32 bits.
@group(0) @binding(0) var<storage, read> wide_source: array<u32>;
// Packed elements, two halves a word.
@group(0) @binding(1) var<storage, read_write> packed_target: array<u32>;
@group(0) @binding(2) var<uniform> from_params: FromParams;

// The f32 bits of an f16. A NaN comes out quiet, with its sign and payload.
fn widen_f16(half: u32) -> u32 {
  let sign = (half & 0x8000u) << 16;
  let exponent = (half >> 10) & 0x1fu;
  let mantissa = half & 0x3ffu;
  if exponent == 0x1fu {
    return sign | 0x7f800000u | select(0x400000u, 0u, mantissa == 0) | (mantissa << 13);
  }
  if exponent != 0 {
    return sign | ((exponent + 112) << 23) | (mantissa << 13);
  }
  if mantissa == 0 {
    return sign;
  }
  // Subnormal: the leading one moves to the implicit place, bit 10.
  let shift = countLeadingZeros(mantissa) - 21;
  return sign | ((113 - shift) << 23) | (((mantissa << shift) & 0x3ffu) << 13);
}

// The f16 nearest to f32 bits, ties to even.
fn narrow_f16(word: u32) -> u32 {
  let sign = (word >> 16) & 0x8000u;
  let magnitude = word & 0x7fffffffu;
  if magnitude > 0x7f800000u {
    return sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  }
  if magnitude >= 0x47800000u { // 2^16 and up, infinity too
    return sign | 0x7c00u;
  }
  if magnitude >= 0x38800000u { // 2^-14 and up: normal. The carry out of 65504 reaches infinity's bits
    return sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1)) >> 13);
  }
  // A whole number of 2^-24. From shift 25 on everything is under half a unit.
  let exponent = magnitude >> 23;
  let mantissa = (magnitude & 0x7fffffu) | select(0x800000u, 0u, exponent == 0);
  let shift = min(126 - exponent, 25u);
  let units = mantissa >> shift;
  let rest = mantissa & ((1u << shift) - 1);
  let halfway = 1u << (shift - 1);
  let up = rest > halfway || (rest == halfway && (units & 1) == 1);
  return sign | (units + select(0u, 1u, up));
}

// The bf16 nearest to f32 bits, ties to even.
fn narrow_bf16(word: u32) -> u32 {
  if (word & 0x7fffffffu) > 0x7f800000u {
    return (word >> 16) | 0x40u;
  }
  return (word + 0x7fffu + ((word >> 16) & 1)) >> 16;
}

@compute @workgroup_size(256)
fn to_float32(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = linear_index(workgroup, grid, local, 256);
  if index >= to_params.count {
    return;
  }
  let element = to_params.source_offset + index;
  var word: u32;
  if to_params.dtype == F32 {
    word = packed_source[element];
  } else {
    let half = (packed_source[element / 2] >> (16 * (element & 1))) & 0xffffu;
    word = half << 16;
    if to_params.dtype == F16 {
      word = widen_f16(half);
    }
  }
  wide_target[to_params.target_offset + index] = word;
}

// The 16-bit element at `index` of the target; 0 past the count.
fn narrow(index: u32) -> u32 {
  if index >= from_params.count {
    return 0;
  }
  let word = wide_source[from_params.source_offset + index];
  if from_params.dtype == F16 {
    return narrow_f16(word);
  }
  return narrow_bf16(word);
}

// An invocation writes a whole word, so that no two share one.
@compute @workgroup_size(256)
fn from_float32(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = linear_index(workgroup, grid, local, 256);
  if from_params.dtype == F32 {
    if index < from_params.count {
      packed_target[index] = wide_source[from_params.source_offset + index];
    }
  } else if index < (from_params.count + 1) / 2 {
    packed_target[index] = narrow(2 * index) | (narrow(2 * index + 1) << 16);
  }
}
