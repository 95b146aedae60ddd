// Reads the bits of a mask as SIMD flags, for kernels that handle four neighbouring columns at a time.

// Returns a vector of four flags. In lane i all bits are 1 if bit i of `bits` is 1, and 0 otherwise.
// @ts-ignore: decorator
@inline export function flags_of(bits: u32): v128 {
  const flag = i32x4(1, 2, 4, 8);
  return i32x4.eq(v128.and(i32x4.splat(bits), flag), flag);
}

// Returns the mask bits of the columns `column` … `column` + 3 in the lowest four bits of the result. The
// other bits are undefined. `row` is the address of a row of mask words.
// @ts-ignore: decorator
@inline export function four_bits(row: usize, column: u32): u32 {
  const word = row + (<usize>(column >> 5) << 2), bit = column & 31;
  const bits = load<u32>(word) >> bit;
  return bit > 28 ? bits | (load<u32>(word, 4) << (32 - bit)) : bits;
}

// Returns the mask bit of one column. `row` is the address of a row of mask words.
// @ts-ignore: decorator
@inline export function one_bit(row: usize, column: u32): u32 {
  return (load<u32>(row + (<usize>(column >> 5) << 2)) >> (column & 31)) & 1;
}
