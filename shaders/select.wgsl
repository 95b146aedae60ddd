// Selects exactly the k smallest scores by radix select. src/device/kernels/selection/select.ts describes the method
// and the kernels. shared/select.wgsl is prepended to this file.

struct ScoreParams {
  rows: u32,
  cols: u32,
  ld: u32,
  first: u32,
  words: u32,
  has_forced: u32,
}

struct HistogramParams {
  count: u32,
  level: u32,
}

struct DigitParams {
  level: u32,
  k: u32,
}

struct CountParams {
  rows: u32,
  cols: u32,
  accumulate: u32,
}

struct RankParams {
  rows: u32,
}

@group(0) @binding(0) var<storage, read> score_work: array<f32>;
@group(0) @binding(1) var<storage, read> score_scale: array<f32>;
@group(0) @binding(2) var<storage, read> score_forced: array<u32>;
@group(0) @binding(3) var<storage, read_write> score_keys_out: array<u32>;
@group(0) @binding(4) var<uniform> score_params: ScoreParams;

@group(0) @binding(0) var<storage, read> histogram_keys: array<u32>;
@group(0) @binding(1) var<storage, read> histogram_selection: array<u32>;
@group(0) @binding(2) var<storage, read_write> histogram_bins: array<atomic<u32>>;
@group(0) @binding(3) var<uniform> histogram_params: HistogramParams;

@group(0) @binding(0) var<storage, read_write> digit_histogram: array<u32>;
@group(0) @binding(1) var<storage, read_write> digit_selection: array<u32>;
@group(0) @binding(2) var<uniform> digit_params: DigitParams;

@group(0) @binding(0) var<storage, read> count_keys: array<u32>;
@group(0) @binding(1) var<storage, read_write> count_selection: array<u32>;
@group(0) @binding(2) var<uniform> count_params: CountParams;

@group(0) @binding(0) var<storage, read_write> rank_selection: array<u32>;
@group(0) @binding(1) var<uniform> rank_params: RankParams;

// Rows per workgroup of count_ties.
const COUNT_ROWS: u32 = 64;

var<workgroup> bins: array<atomic<u32>, BINS>;
var<workgroup> row_ties: array<atomic<u32>, COUNT_ROWS>;
var<workgroup> remaining: u32;

@compute @workgroup_size(256)
fn score_keys(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = linear_index(workgroup, grid, local, 256);
  if index >= score_params.rows * score_params.cols {
    return;
  }
  let r = index / score_params.cols;
  let c = index % score_params.cols;
  let column = score_params.first + c;
  var is_forced = false;
  if score_params.has_forced == 1 {
    let word = score_forced[r * score_params.words + column / 32];
    is_forced = ((word >> (column % 32)) & 1) == 1;
  }
  let score = score_work[r * score_params.ld + c] * score_scale[column];
  score_keys_out[index] = key_of_score(score, is_forced);
}

@compute @workgroup_size(BINS)
fn key_histogram(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let level = histogram_params.level;
  let shift = 24 - 8 * level;
  let above = bytes_above(level);
  let threshold = histogram_selection[0];
  let start = linear_index(workgroup, grid, 0, BINS * KEYS_PER_INVOCATION) + local;

  atomicStore(&bins[local], 0);
  workgroupBarrier();
  for (var k = 0u; k < KEYS_PER_INVOCATION; k++) {
    let i = start + k * BINS;
    if i < histogram_params.count {
      let key = histogram_keys[i];
      if ((key ^ threshold) & above) == 0 {
        atomicAdd(&bins[(key >> shift) & 0xff], 1);
      }
    }
  }
  workgroupBarrier();
  let counted = atomicLoad(&bins[local]);
  if counted > 0 {
    atomicAdd(&histogram_bins[local], counted);
  }
}

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

@compute @workgroup_size(COUNT_ROWS)
fn count_ties(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let first = linear_index(workgroup, grid, 0, COUNT_ROWS);
  if first >= count_params.rows {
    return;
  }
  let rows = min(COUNT_ROWS, count_params.rows - first);
  let cols = count_params.cols;
  let threshold = count_selection[0];

  atomicStore(&row_ties[local], 0);
  workgroupBarrier();
  // The rows follow each other without gaps, so the workgroup reads them as one sequence of keys. Ties are rare, so
  // there is little contention for the atomics.
  for (var i = local; i < rows * cols; i += COUNT_ROWS) {
    if count_keys[first * cols + i] == threshold {
      atomicAdd(&row_ties[i / cols], 1);
    }
  }
  workgroupBarrier();
  if local < rows {
    let ties = atomicLoad(&row_ties[local]);
    let before = select(0, count_selection[2 + first + local], count_params.accumulate == 1);
    count_selection[2 + first + local] = before + ties;
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
