// Integer division and rounding, both upwards.

// @ts-ignore: decorator
@inline export function ceil_divide(count: u32, size: u32): u32 {
  return count / size + u32(count % size != 0);
}

// The smallest multiple of `multiple` that is at least x. `multiple` must be a power of two.
// @ts-ignore: decorator
@inline export function round_up(x: u32, multiple: u32): u32 {
  return (x + multiple - 1) & ~(multiple - 1);
}
