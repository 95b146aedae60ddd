// Converts f32 to and from f16 (IEEE 754 binary16) and bf16 (the upper half of an f32). All computations are
// integer arithmetic on bits, because WGSL's conversions and float operations may flush subnormals to zero
// and do not guarantee results for NaN and infinity.

// Values of the `dtype` parameters, as in DTYPE_CODE of src/device/kernels/transfer/convert.ts. Any other means bf16.
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

// Packed elements of the dtype. A word holds one f32, or two 16-bit elements with the first in the low half.
@group(0) @binding(0) var<storage, read> packed_source: array<u32>;
// The bits of one f32 per word.
@group(0) @binding(1) var<storage, read_write> f32_target: array<u32>;
@group(0) @binding(2) var<uniform> to_params: ToParams;

// The bits of one f32 per word.
@group(0) @binding(0) var<storage, read> f32_source: array<u32>;
// Packed elements, as in packed_source.
@group(0) @binding(1) var<storage, read_write> packed_target: array<u32>;
@group(0) @binding(2) var<uniform> from_params: FromParams;

// Converts the bits of an f16 to the bits of the equal f32. A NaN becomes a quiet NaN with the same sign and payload.
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
  // The f16 is subnormal. Its leading one is shifted to bit 10, the place of the implicit leading bit.
  let shift = countLeadingZeros(mantissa) - 21;
  return sign | ((113 - shift) << 23) | (((mantissa << shift) & 0x3ffu) << 13);
}

// Converts the bits of an f32 to the bits of the nearest f16. Ties go to the value with an even last bit.
fn narrow_f16(bits: u32) -> u32 {
  let sign = (bits >> 16) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if magnitude > 0x7f800000u {
    return sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  }
  if magnitude >= 0x47800000u { // at least 2^16, or infinity
    return sign | 0x7c00u;
  }
  // From 2^-14 on, the f16 is normal. The largest finite f16 is 65504. A magnitude from 65520 on is nearer to
  // 65536 or halfway, so it is rounded up. The carry into the exponent then gives infinity.
  if magnitude >= 0x38800000u {
    return sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1)) >> 13);
  }
  // The f16 is subnormal, so it is a multiple of 2^-24, which is called a unit here. Shifting the mantissa to
  // the right by `shift` bits gives the number of whole units. The shift is limited to 25, because from there
  // on the magnitude is less than half a unit, and is rounded to 0.
  let exponent = magnitude >> 23;
  let mantissa = (magnitude & 0x7fffffu) | select(0x800000u, 0u, exponent == 0);
  let shift = min(126 - exponent, 25u);
  let units = mantissa >> shift;
  let rest = mantissa & ((1u << shift) - 1);
  let halfway = 1u << (shift - 1);
  let up = rest > halfway || (rest == halfway && (units & 1) == 1);
  return sign | (units + select(0u, 1u, up));
}

// Converts the bits of an f32 to the bits of the nearest bf16. Ties go to the value with an even last bit.
fn narrow_bf16(bits: u32) -> u32 {
  if (bits & 0x7fffffffu) > 0x7f800000u {
    return (bits >> 16) | 0x40u;
  }
  return (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
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
  var bits: u32;
  if to_params.dtype == F32 {
    bits = packed_source[element];
  } else {
    let half = (packed_source[element / 2] >> (16 * (element & 1))) & 0xffffu;
    bits = half << 16;
    if to_params.dtype == F16 {
      bits = widen_f16(half);
    }
  }
  f32_target[to_params.target_offset + index] = bits;
}

// The 16-bit element `index` of the target, or 0 if index ≥ count.
fn narrow(index: u32) -> u32 {
  if index >= from_params.count {
    return 0;
  }
  let bits = f32_source[from_params.source_offset + index];
  if from_params.dtype == F16 {
    return narrow_f16(bits);
  }
  return narrow_bf16(bits);
}

// Each invocation writes a whole word, so that no word is written by two invocations.
@compute @workgroup_size(256)
fn from_float32(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = linear_index(workgroup, grid, local, 256);
  if from_params.dtype == F32 {
    if index < from_params.count {
      packed_target[index] = f32_source[from_params.source_offset + index];
    }
  } else if index < (from_params.count + 1) / 2 {
    packed_target[index] = narrow(2 * index) | (narrow(2 * index + 1) << 16);
  }
}
