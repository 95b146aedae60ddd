// Selects exactly the k smallest scores by radix select. src/device/kernels/selection/select.ts describes the method
// and the kernels. shared/select.wgsl is prepended to this file.

struct DigitParams {
  level: u32,
  k: u32,
}

struct RankParams {
  rows: u32,
}

@group(0) @binding(0) var<storage, read_write> digit_histogram: array<u32>;
@group(0) @binding(1) var<storage, read_write> digit_selection: array<u32>;
@group(0) @binding(2) var<uniform> digit_params: DigitParams;

@group(0) @binding(0) var<storage, read_write> rank_selection: array<u32>;
@group(0) @binding(1) var<uniform> rank_params: RankParams;

var<workgroup> remaining: u32;

@compute @workgroup_size(BINS)
fn select_digit(@builtin(local_invocation_index) local: u32) {
  if local == 0 {
    if digit_params.level == 0 {
      digit_selection[0] = 0;
      digit_selection[1] = digit_params.k;
    }
    remaining = digit_selection[1];
  }
  let count = digit_histogram[local];
  digit_histogram[local] = 0;
  let reached = inclusive_scan(local, count);
  storageBarrier();
  let below = reached - count;
  if below < remaining && remaining <= reached {
    digit_selection[0] |= local << (24 - 8 * digit_params.level);
    digit_selection[1] = remaining - below;
  }
}

@compute @workgroup_size(BINS)
fn rank_ties(@builtin(local_invocation_index) local: u32) {
  // Each invocation handles `count` consecutive rows.
  let count = (rank_params.rows + BINS - 1) / BINS;
  let first = min(local * count, rank_params.rows);
  let end = min(first + count, rank_params.rows);
  var ties = 0u;
  for (var r = first; r < end; r++) {
    ties += rank_selection[2 + r];
  }
  let before = inclusive_scan(local, ties) - ties;
  let wanted = rank_selection[1];
  var available = wanted - min(wanted, before);
  for (var r = first; r < end; r++) {
    let chosen = min(available, rank_selection[2 + r]);
    rank_selection[2 + r] = chosen;
    available -= chosen;
  }
}
