// Whether the engine makes one 256-bit instruction of two neighbouring 128-bit ones (V8's revectorization). The products then use
// a tile twice as wide, whose accumulators would not fit the registers otherwise. Both give the same bits: no sum changes its order.

let wide: bool = false;

// Told by the host once, before any kernel runs: it knows how the engine was started.
export function set_wide(on: bool): void {
  wide = on;
}

// @ts-ignore: decorator
@inline export function is_wide(): bool {
  return wide;
}
