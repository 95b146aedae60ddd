// Reads the bits of a mask as SIMD flags, for kernels that handle four neighbouring columns at a time.

// Lane i has all bits set if bit i of `bits` is 1, for the lowest four bits.
// @ts-ignore: decorator
@inline export function flags_of(bits: u32): v128 {
  const flag = i32x4(1, 2, 4, 8);
  return i32x4.eq(v128.and(i32x4.splat(bits), flag), flag);
}

// The bits of the columns `column` … `column` + 3 of the row of mask words at `row`, in the lowest four bits. The higher bits are undefined.
// @ts-ignore: decorator
@inline export function four_bits(row: usize, column: u32): u32 {
  const word = row + (<usize>(column >> 5) << 2), bit = column & 31;
  const bits = load<u32>(word) >> bit;
  return bit > 28 ? bits | (load<u32>(word, 4) << (32 - bit)) : bits;
}

// The bit of one column of the row of mask words at `row`.
// @ts-ignore: decorator
@inline export function one_bit(row: usize, column: u32): u32 {
  return (load<u32>(row + (<usize>(column >> 5) << 2)) >> (column & 31)) & 1;
}
