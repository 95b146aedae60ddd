// Selects exactly the k smallest scores if all of them are in one block. src/device/kernels/selection/select_block.ts
// describes the method and the kernels. shared/select.wgsl and shared/digits.wgsl are prepended to this file.

struct RefineParams {
  count: u32,
  level: u32,
  k: u32,
}

struct FinishParams {
  rows: u32,
  cols: u32,
}

@group(0) @binding(0) var<storage, read> digit_keys: array<u32>;
@group(0) @binding(1) var<storage, read_write> digits: array<atomic<u32>>;
@group(0) @binding(2) var<uniform> refine_params: RefineParams;

// finish_selection shares its first two bindings with refine_histogram.
@group(0) @binding(2) var<storage, read_write> finished: array<atomic<u32>>;
@group(0) @binding(3) var<uniform> finish_params: FinishParams;

// The position of the searches in `digits`, after the histograms of the three levels.
const SEARCHES: u32 = 3 * DIGIT_BINS;
// Keys per invocation and iteration when finish_selection counts ties.
const KEYS_PER_STEP: u32 = 8;

// The search after a level: the digits of the threshold that are known, the number of entries to choose among
// the keys that begin with these digits, and the number of such keys.
var<workgroup> search: array<u32, 3>;

// Finds the digit of the threshold at `level` from its histogram, and sets `search` for all invocations.
// `threshold` has the digits of the earlier levels, and `wanted` is the number of entries to choose among the
// keys that begin with them. If it is 0, no digit is found, and `search` becomes (threshold, 0, 0).
fn search_level(local: u32, level: u32, threshold: u32, wanted: u32) {
  if local == 0 {
    search[0] = threshold;
    search[1] = 0;
    search[2] = 0;
  }
  let first = level * DIGIT_BINS + local * BINS_PER_LANE;
  var own = 0u;
  for (var b = 0u; b < BINS_PER_LANE; b++) {
    own += atomicLoad(&digits[first + b]);
  }
  let reached = inclusive_scan(local, own);
  var below = reached - own;
  if below < wanted && wanted <= reached {
    for (var b = 0u; b < BINS_PER_LANE; b++) {
      let count = atomicLoad(&digits[first + b]);
      if below < wanted && wanted <= below + count {
        search[0] = threshold | ((local * BINS_PER_LANE + b) << digit_shift(level));
        search[1] = wanted - below;
        search[2] = count;
      }
      below += count;
    }
  }
  workgroupBarrier();
}

@compute @workgroup_size(BINS)
fn refine_histogram(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let level = refine_params.level;
  var threshold = 0u;
  var wanted = refine_params.k;
  if level == 2 {
    threshold = atomicLoad(&digits[SEARCHES]);
    wanted = atomicLoad(&digits[SEARCHES + 1]);
  }
  clear_digit_counts(local);
  // Every workgroup searches, because a workgroup cannot wait for the result of another. The first one stores
  // the result for the next dispatch.
  search_level(local, level - 1, threshold, wanted);
  threshold = search[0];
  if workgroup.x == 0 && workgroup.y == 0 && local < 2 {
    atomicStore(&digits[SEARCHES + 2 * (level - 1) + local], search[local]);
  }
  let above = ~0u << digit_shift(level - 1);
  let start = linear_index(workgroup, grid, 0, BINS * KEYS_PER_INVOCATION) + local;
  for (var k = 0u; k < KEYS_PER_INVOCATION; k++) {
    let i = start + k * BINS;
    if i < refine_params.count {
      let key = digit_keys[i];
      if ((key ^ threshold) & above) == 0 {
        atomicAdd(&digit_counts[digit_of(key, level)], 1);
      }
    }
  }
  workgroupBarrier();
  for (var b = 0u; b < BINS_PER_LANE; b++) {
    let counted = atomicLoad(&digit_counts[local + b * BINS]);
    if counted > 0 {
      atomicAdd(&digits[level * DIGIT_BINS + local + b * BINS], counted);
    }
  }
}

// Adds 1 to the ties of the row of key `index` if the key equals the threshold.
fn count_tie(index: u32, threshold: u32) {
  if index < finish_params.rows * finish_params.cols && digit_keys[index] == threshold {
    atomicAdd(&finished[2 + index / finish_params.cols], 1);
  }
}

@compute @workgroup_size(BINS)
fn finish_selection(@builtin(local_invocation_index) local: u32) {
  search_level(local, 2, atomicLoad(&digits[SEARCHES + 2]), atomicLoad(&digits[SEARCHES + 3]));
  let rows = finish_params.rows;
  for (var r = local; r < rows; r += BINS) {
    atomicStore(&finished[2 + r], 0);
  }
  storageBarrier();
  for (var b = local; b < SEARCHES; b += BINS) {
    atomicStore(&digits[b], 0);
  }
  let threshold = workgroupUniformLoad(&search[0]);
  let wanted = workgroupUniformLoad(&search[1]);
  let ties = workgroupUniformLoad(&search[2]);
  if wanted == ties {
    // All ties are chosen, or none, so there is nothing to rank.
    if local == 0 {
      atomicStore(&finished[0], threshold + select(0u, 1u, ties > 0));
      atomicStore(&finished[1], 0);
    }
    return;
  }
  if local == 0 {
    atomicStore(&finished[0], threshold);
    atomicStore(&finished[1], wanted);
  }
  // The eight calls are written out, because not every driver unrolls loops.
  for (var i = local; i < rows * finish_params.cols; i += BINS * KEYS_PER_STEP) {
    count_tie(i, threshold);
    count_tie(i + BINS, threshold);
    count_tie(i + 2 * BINS, threshold);
    count_tie(i + 3 * BINS, threshold);
    count_tie(i + 4 * BINS, threshold);
    count_tie(i + 5 * BINS, threshold);
    count_tie(i + 6 * BINS, threshold);
    count_tie(i + 7 * BINS, threshold);
  }
  storageBarrier();
  // Each invocation handles `count` consecutive rows.
  let count = (rows + BINS - 1) / BINS;
  let first = min(local * count, rows);
  let end = min(first + count, rows);
  var own = 0u;
  for (var r = first; r < end; r++) {
    own += atomicLoad(&finished[2 + r]);
  }
  let before = inclusive_scan(local, own) - own;
  var available = wanted - min(wanted, before);
  for (var r = first; r < end; r++) {
    let chosen = min(available, atomicLoad(&finished[2 + r]));
    atomicStore(&finished[2 + r], chosen);
    available -= chosen;
  }
}
