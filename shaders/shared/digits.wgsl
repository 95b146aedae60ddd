// The digits of keys that select_block.wgsl and update_block.wgsl count. The digits have 11, 11 and 10 bits, from level
// 0 to level 2. shared/select.wgsl is prepended to this file.

// One bin for each value of a digit of 11 bits, and the bins that each of 256 invocations handles.
const DIGIT_BINS: u32 = 2048;
const BINS_PER_LANE: u32 = DIGIT_BINS / BINS;

var<workgroup> digit_counts: array<atomic<u32>, DIGIT_BINS>;

fn digit_shift(level: u32) -> u32 {
  return select(select(0u, 10u, level == 1), 21u, level == 0);
}

fn digit_of(key: u32, level: u32) -> u32 {
  return (key >> digit_shift(level)) & select(DIGIT_BINS - 1, DIGIT_BINS / 2 - 1, level == 2);
}

fn clear_digit_counts(local: u32) {
  for (var bin = local; bin < DIGIT_BINS; bin += BINS) {
    atomicStore(&digit_counts[bin], 0);
  }
}
