// Operations on the lanes of vectors: reductions, mask bits as flags, and the transpose of 4 × 4 elements. Every sum of
// four lanes is (lane 0 + lane 2) + (lane 1 + lane 3), so that all kernels round alike.

// The largest lane.
@inline export function max_lane(x: v128): f32 {
  const maxima = f32x4.max(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.max(maxima, v128.shuffle<f32>(maxima, maxima, 1, 0, 3, 2)), 0);
}

// The sum of the four f32 lanes.
@inline export function sum_lanes(x: v128): f32 {
  const sums = f32x4.add(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.add(sums, v128.shuffle<f32>(sums, sums, 1, 0, 3, 2)), 0);
}

// Two f64 lanes that add up to the four f32 lanes of x, for sums that are too long for f32.
@inline export function fold_to_f64(x: v128): v128 {
  return f64x2.add(f64x2.promote_low_f32x4(x), f64x2.promote_low_f32x4(v128.shuffle<f32>(x, x, 2, 3, 0, 1)));
}

// The sum of the two f64 lanes.
@inline export function sum_lanes_f64(x: v128): f64 {
  return f64x2.extract_lane(x, 0) + f64x2.extract_lane(x, 1);
}

// Returns a constant in all lanes. The constant, which is declared as `const NAME = memory.data<f32>([value])`, is in
// memory, because V8 builds a v128.const from three instructions at every use. It copies a number in memory to all lanes
// with one instruction, also where it pairs instructions. This halves the time of an exponential.
@inline export function lanes_of(constant: usize): v128 {
  return v128.load32_splat(constant);
}

// Returns the four f32 elements at `address` or, with `isSingle`, one element in all lanes. With it, one function handles
// both the vectors of a row and the elements that remain at its end.
@inline export function load_lanes(address: usize, isSingle: bool): v128 {
  return isSingle ? v128.load32_splat(address) : v128.load(address);
}

// Returns a vector of four flags. In lane i all bits are 1 if bit i of `bits` is 1, and 0 otherwise.
@inline export function flags_of(bits: u32): v128 {
  const flag = i32x4(1, 2, 4, 8);
  return i32x4.eq(v128.and(i32x4.splat(bits), flag), flag);
}

// Returns the mask bits of the columns `column` … `column` + 3 in the lowest four bits of the result. The other bits
// are undefined. `row` is the address of a row of mask words.
@inline export function four_bits(row: usize, column: u32): u32 {
  const word = row + (<usize>(column >> 5) << 2), bit = column & 31;
  const bits = load<u32>(word) >> bit;
  return bit > 28 ? bits | (load<u32>(word, 4) << (32 - bit)) : bits;
}

// Returns the mask bit of one column. `row` is the address of a row of mask words.
@inline export function one_bit(row: usize, column: u32): u32 {
  return (load<u32>(row + (<usize>(column >> 5) << 2)) >> (column & 31)) & 1;
}

// target ← sourceᵀ for a block of 4 × 4 elements of 32 bits. Source and target may be the same block, because
// everything is loaded before anything is stored.
@inline export function transpose_4x4(source: usize, sourceStride: usize, target: usize, targetStride: usize): void {
  const row0 = v128.load(source);
  const row1 = v128.load(source + sourceStride);
  const row2 = v128.load(source + 2 * sourceStride);
  const row3 = v128.load(source + 3 * sourceStride);
  const low01 = v128.shuffle<f32>(row0, row1, 0, 4, 1, 5);
  const low23 = v128.shuffle<f32>(row2, row3, 0, 4, 1, 5);
  const high01 = v128.shuffle<f32>(row0, row1, 2, 6, 3, 7);
  const high23 = v128.shuffle<f32>(row2, row3, 2, 6, 3, 7);
  v128.store(target, v128.shuffle<f32>(low01, low23, 0, 1, 4, 5));
  v128.store(target + targetStride, v128.shuffle<f32>(low01, low23, 2, 3, 6, 7));
  v128.store(target + 2 * targetStride, v128.shuffle<f32>(high01, high23, 0, 1, 4, 5));
  v128.store(target + 3 * targetStride, v128.shuffle<f32>(high01, high23, 2, 3, 6, 7));
}
