// Computes a grid, which is the set of values that weights are rounded to. src/tensor/quantization.ts
// has the formulas.

// The smallest scale. Smaller numbers are not normal in f32, and a GPU may replace them by 0.
const MIN_SCALE: f32 = 1.1754943508222875e-38;

struct QuantizationGrid {
  scale: f32,
  // The code of the weight 0.
  zero: f32,
}

// Returns the grid of weights that lie between `low` ≤ 0 and `high` ≥ 0. The largest code is `max_code`.
// The function uses abs(low) instead of −low, which would be −0 if `low` is 0.
fn quantization_grid(low: f32, high: f32, max_code: f32, symmetric: bool) -> QuantizationGrid {
  let range = select(high - low, 2 * max(abs(low), high), symmetric);
  let quotient = range / max_code;
  let scale = select(quotient, 1, quotient < MIN_SCALE);
  return QuantizationGrid(scale, select(round(abs(low) / scale), (max_code + 1) / 2, symmetric));
}
