// Computes the grids to which weights are rounded. src/tensor/quantization.ts has the formulas.

// The smallest scale. Smaller numbers are not normal in f32, and a GPU may replace them by 0.
const MIN_SCALE: f32 = 1.1754943508222875e-38;

// Values of `scale_dtype`, as in DTYPE_CODE of src/device/kernels/transfer/convert.ts. Any other value means f32.
const SCALES_F16: u32 = 1;
const SCALES_BF16: u32 = 2;

// Added to a number of steps before it is rounded down. Candidates of a search often lie in the middle of two integers, and then
// every device must choose the larger integer.
const TIE: f32 = 0.501;

// The candidates that are compared in each of the two stages of a search.
const CANDIDATES: u32 = 16;

struct QuantizationGrid {
  scale: f32,
  // The code of the weight 0. It lies between two codes if 0 is not a value of the grid.
  zero: f32,
  // By how much the values lie below the multiples of the scale.
  offset: f32,
}

// The rule by which grids are computed.
struct GridRule {
  // The largest code.
  max_code: f32,
  symmetric: bool,
  // Whether the grid is the start of a search.
  searched: bool,
  scale_dtype: u32,
  // If this is n > 0, a scale is an integer from 1 to n, or its negative, times `factor`.
  scale_limit: u32,
  factor: f32,
  // Whether the grid need not contain 0.
  free: bool,
}

// Rounds scales to the nearest numbers of the dtype. Ties go to an even last bit. The results have the signs of the
// scales and are neither 0 nor infinite.
fn round_to_dtype(scales: vec4f, dtype: u32) -> vec4f {
  if dtype != SCALES_F16 && dtype != SCALES_BF16 {
    return scales;
  }
  let magnitudes = abs(scales);
  let bits = bitcast<vec4u>(magnitudes);
  if dtype == SCALES_BF16 {
    let rounded = bitcast<vec4f>((bits + 0x7fff + ((bits >> vec4u(16)) & vec4u(1))) & vec4u(0xffff0000u));
    return select(rounded, -rounded, scales < vec4f());
  }
  // Below 2^-14, the numbers of f16 are the multiples of 2^-24. The largest number is 65504.
  let normal = bitcast<vec4f>((bits + 0xfff + ((bits >> vec4u(13)) & vec4u(1))) & vec4u(0xffffe000u));
  let subnormal = max(round(magnitudes * 16777216.0), vec4f(1)) / 16777216.0;
  let rounded = min(select(normal, subnormal, magnitudes < vec4f(0.00006103515625)), vec4f(65504));
  return select(rounded, -rounded, scales < vec4f());
}

// Rounds the scales of grids with these zeros to numbers of the dtype, or to integers times the factor.
// src/tensor/quantization.ts says which integers are allowed.
fn round_scales(scales: vec4f, zeros: vec4f, rule: GridRule) -> vec4f {
  if rule.scale_limit == 0 {
    return round_to_dtype(scales, rule.scale_dtype);
  }
  let middle = u32(rule.max_code + 1) / 2;
  let codes = vec4u(zeros);
  let lowest_bits = codes & (~codes + 1);
  let is_free = (codes == vec4u()) | vec4<bool>(rule.free);
  let units = select(vec4u(middle) / max(lowest_bits, vec4u(1)), vec4u(1), is_free);
  let reach = min(vec4u(rule.scale_limit), vec4u(rule.scale_limit * middle) / max(codes, vec4u(1)));
  let most = select(reach, vec4u(rule.scale_limit), is_free) / units;
  let steps = clamp(floor(abs(scales) / (rule.factor * vec4f(units)) + TIE), vec4f(1), vec4f(most));
  let rounded = steps * vec4f(units) * rule.factor;
  return select(rounded, -rounded, scales < vec4f());
}

// Rounds the zeros of free grids to m·middle/n, where a scale is n times the factor, and m an integer up to the limit, so that
// the largest value of a grid is not below 0.
fn round_zeros(zeros: vec4f, scales: vec4f, rule: GridRule) -> vec4f {
  if !rule.free {
    return zeros;
  }
  let middle = (rule.max_code + 1) / 2;
  let n = round(scales / rule.factor);
  let most = min(vec4f(f32(rule.scale_limit)), floor(rule.max_code * n / middle));
  return min(floor(zeros * n / middle + TIE), most) * middle / n;
}

// Returns the offsets of grids, which are integers times the factor.
fn grid_offsets(zeros: vec4f, scales: vec4f, rule: GridRule) -> vec4f {
  if !rule.free {
    return vec4f();
  }
  return round((zeros - floor(zeros)) * round(scales / rule.factor)) * rule.factor;
}

// Returns the unrounded scale of the grid of weights between `low` ≤ 0 and `high` ≥ 0. It is 0 if all weights are.
fn exact_scale(low: f32, high: f32, rule: GridRule) -> f32 {
  let middle = (rule.max_code + 1) / 2;
  if rule.symmetric && rule.searched {
    return select(-high / middle, abs(low) / middle, abs(low) >= high);
  }
  if rule.symmetric {
    return 2 * max(abs(low), high) / rule.max_code;
  }
  return (high - low) / rule.max_code;
}

// Returns a lower bound of the factor with which the integers of these weights do not exceed the limit.
fn least_factor(low: f32, high: f32, rule: GridRule) -> f32 {
  return max(abs(exact_scale(low, high, rule)), 2 * abs(low) / (rule.max_code + 1)) / f32(rule.scale_limit);
}

// Returns the grid of weights that lie between `low` ≤ 0 and `high` ≥ 0. The function uses abs(low) instead of −low,
// which would be −0 if `low` is 0. With two levels, the scale is rounded last, because the zero decides which integers
// are allowed.
fn quantization_grid(low: f32, high: f32, rule: GridRule) -> QuantizationGrid {
  let quotient = exact_scale(low, high, rule);
  let base = select(quotient, 1, abs(quotient) < MIN_SCALE);
  let scale = select(base, round_to_dtype(vec4f(base), rule.scale_dtype).x, rule.scale_limit == 0);
  let lowest = abs(low) / scale;
  let zero = min(select(round(lowest), lowest, rule.free), rule.max_code);
  let zeros = vec4f(select(zero, (rule.max_code + 1) / 2, rule.symmetric));
  let scales = round_scales(vec4f(scale), zeros, rule);
  let rounded = round_zeros(zeros, scales, rule);
  return QuantizationGrid(scales.x, rounded.x, grid_offsets(rounded, scales, rule).x);
}

// Four candidates of a search.
struct Candidates {
  scales: vec4f,
  zeros: vec4f,
  offsets: vec4f,
}

// Returns the candidates 4·quad … 4·quad + 3 of a stage of a search that has arrived at the grid `start`. Candidate 0
// is `start` itself. Stage 0 tries the scales of `start` times 12/10, 12/11 … 12/25. Stage 1 tries scales within 6 % of
// it, and for asymmetric grids also zeros that are up to 2 larger or 1 smaller, or a quarter of that for free grids.
fn candidates_of(start: QuantizationGrid, stage: u32, quad: u32, rule: GridRule) -> Candidates {
  let n = 4 * quad + vec4u(0, 1, 2, 3);
  var factors = 12 / vec4f(10 + (n + 2) % CANDIDATES);
  var zeros = vec4f(start.zero);
  if stage == 1 && rule.symmetric {
    factors = 1 + (vec4f((n + 8) % CANDIDATES) - 8) / 128;
  } else if stage == 1 {
    let k = (n + 7) % CANDIDATES;
    factors = 1 + (vec4f(k % 5) - 2) / 40;
    let shifts = (vec4f(k / 5) - 1) * select(1.0, 0.25, rule.free);
    zeros = clamp(zeros + shifts, vec4f(), vec4f(rule.max_code));
  }
  let scales = round_scales(start.scale * factors, zeros, rule);
  let unchanged = (n == vec4u()) | (abs(scales) < vec4f(MIN_SCALE));
  let chosen = select(scales, vec4f(start.scale), unchanged);
  let rounded = round_zeros(zeros, chosen, rule);
  return Candidates(chosen, rounded, grid_offsets(rounded, chosen, rule));
}

// Returns candidate n of a stage of a search.
fn candidate_grid(start: QuantizationGrid, stage: u32, n: u32, rule: GridRule) -> QuantizationGrid {
  let candidates = candidates_of(start, stage, n / 4, rule);
  let i = n % 4;
  return QuantizationGrid(candidates.scales[i], candidates.zeros[i], candidates.offsets[i]);
}

// Returns the squared errors of a weight that is rounded to the candidates, times the square of `importance`.
// `inverses` are 1/scale.
fn grid_errors_of(candidates: Candidates, inverses: vec4f, max_code: f32, weight: f32, importance: f32) -> vec4f {
  let shifted = weight + candidates.offsets;
  let lowest = -floor(candidates.zeros);
  let steps = clamp(round(shifted * inverses), lowest, max_code + lowest);
  let errors = (shifted - steps * candidates.scales) * importance;
  return errors * errors;
}

// The candidate with the smallest error so far, and this error.
struct BestCandidate {
  n: u32,
  error: f32,
}

// Compares four further candidates with `best`. Of equal errors, the first candidate is chosen.
fn better_candidate(best: BestCandidate, quad: u32, errors: vec4f) -> BestCandidate {
  var result = best;
  if errors.x < result.error { result = BestCandidate(4 * quad, errors.x); }
  if errors.y < result.error { result = BestCandidate(4 * quad + 1, errors.y); }
  if errors.z < result.error { result = BestCandidate(4 * quad + 2, errors.z); }
  if errors.w < result.error { result = BestCandidate(4 * quad + 3, errors.w); }
  return result;
}
