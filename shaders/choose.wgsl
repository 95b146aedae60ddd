// Chooses which entries of a tile to keep. src/device/kernels/selection/choose.ts describes the method, the four
// kernels and their buffers. shared/select.wgsl is prepended to this file.

struct Params {
  rows: u32,
  cols: u32,
  ld: u32,
  row0: u32,
  first: u32,
  words: u32,
  has_forced: u32,
}

// Params with one more member, `level`: the index of the byte of the keys that is counted. Byte 0 is the most
// significant.
struct HistogramParams {
  rows: u32,
  cols: u32,
  ld: u32,
  row0: u32,
  first: u32,
  words: u32,
  has_forced: u32,
  level: u32,
}

// Params with two more members: in an n:m pattern, each `group` consecutive columns keep `keep` entries.
struct GroupParams {
  rows: u32,
  cols: u32,
  ld: u32,
  row0: u32,
  first: u32,
  words: u32,
  has_forced: u32,
  keep: u32,
  group: u32,
}

// The bindings that all four kernels have.
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read> forced: array<u32>;

// The further bindings of score_histogram.
@group(0) @binding(3) var<storage, read> threshold: array<u32>;
@group(0) @binding(4) var<storage, read_write> histogram: array<atomic<u32>>;
@group(0) @binding(5) var<uniform> histogram_params: HistogramParams;

// The further bindings of count_score_ties and choose_entries. Both have `selection` at binding 3. The
// parameters follow at binding 4 in count_score_ties. In choose_entries, binding 4 is the mask and binding 5
// has the parameters.
@group(0) @binding(3) var<storage, read_write> selection: array<u32>;
@group(0) @binding(4) var<uniform> count_params: Params;
@group(0) @binding(4) var<storage, read_write> mask: array<atomic<u32>>;
@group(0) @binding(5) var<uniform> choose_params: Params;

// The further bindings of choose_in_groups.
@group(0) @binding(3) var<storage, read_write> group_mask: array<atomic<u32>>;
@group(0) @binding(4) var<uniform> group_params: GroupParams;

// The number of invocations that share a row in count_score_ties and choose_entries.
const LANES: u32 = 64;

var<workgroup> bins: array<atomic<u32>, BINS>;
var<workgroup> ties: atomic<u32>;
// One bit per entry of a chunk of LANES mask words. The bit is 1 if the key of the entry equals the threshold.
var<workgroup> equal: array<u32, LANES>;
// For each word of the chunk, the number of its ties that are pruned.
var<workgroup> pruned_ties: array<u32, LANES>;
// The number of ties of the row that are still to be pruned.
var<workgroup> remaining: u32;

// Returns the key of element (r, c) of the tile.
fn key_of(p: Params, r: u32, c: u32) -> u32 {
  let column = p.first + c;
  if p.has_forced == 1 {
    if ((forced[(p.row0 + r) * p.words + column / 32] >> (column % 32)) & 1) == 1 {
      return 0;
    }
  }
  return key_of_score(x[r * p.ld + c] * scale[column], false);
}

@compute @workgroup_size(BINS)
fn score_histogram(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let h = histogram_params;
  let p = Params(h.rows, h.cols, h.ld, h.row0, h.first, h.words, h.has_forced);
  let shift = 24 - 8 * h.level;
  let above = bytes_above(h.level);
  let known = threshold[0];
  let start = linear_index(workgroup, grid, 0, BINS * KEYS_PER_INVOCATION) + local;

  atomicStore(&bins[local], 0);
  workgroupBarrier();
  for (var k = 0u; k < KEYS_PER_INVOCATION; k++) {
    let i = start + k * BINS;
    if i < p.rows * p.cols {
      let key = key_of(p, i / p.cols, i % p.cols);
      if ((key ^ known) & above) == 0 {
        atomicAdd(&bins[(key >> shift) & 0xff], 1);
      }
    }
  }
  workgroupBarrier();
  let counted = atomicLoad(&bins[local]);
  if counted > 0 {
    atomicAdd(&histogram[local], counted);
  }
}

@compute @workgroup_size(LANES)
fn count_score_ties(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = count_params;
  let r = linear_index(workgroup, grid, 0, 1);
  if r >= p.rows {
    return;
  }
  atomicStore(&ties, 0);
  workgroupBarrier();
  for (var c = local; c < p.cols; c += LANES) {
    if key_of(p, r, c) == selection[0] {
      atomicAdd(&ties, 1);
    }
  }
  workgroupBarrier();
  if local == 0 {
    selection[2 + p.row0 + r] += atomicLoad(&ties);
  }
}

// A workgroup handles one row, one chunk of LANES mask words at a time.
@compute @workgroup_size(LANES)
fn choose_entries(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = choose_params;
  let r = linear_index(workgroup, grid, 0, 1);
  if r >= p.rows {
    return;
  }
  let limit = selection[0];
  let matrix_row = p.row0 + r;
  let end = p.first + p.cols;
  if local == 0 {
    remaining = selection[2 + matrix_row];
  }
  for (var chunk = p.first / 32; chunk * 32 < end; chunk += LANES) {
    let word = chunk + local;
    var below_bits = 0u;
    var equal_bits = 0u;
    var column_bits = 0u;
    for (var bit = 0u; bit < 32; bit++) {
      let column = word * 32 + bit;
      if column >= p.first && column < end {
        let key = key_of(p, r, column - p.first);
        column_bits |= 1u << bit;
        below_bits |= u32(key < limit) << bit;
        equal_bits |= u32(key == limit) << bit;
      }
    }
    equal[local] = equal_bits;
    workgroupBarrier();
    if local == 0 {
      share_out_ties();
    }
    workgroupBarrier();
    let kept = column_bits & ~below_bits & ~first_bits(equal_bits, pruned_ties[local]);
    if kept != 0 {
      // A neighbouring tile may hold other columns of the same word.
      atomicOr(&mask[matrix_row * p.words + word], kept);
    }
    workgroupBarrier();
  }
  if local == 0 {
    selection[2 + matrix_row] = remaining;
  }
}

// Distributes the `remaining` ties that are to be pruned over the words of the chunk, from the first word on.
// A word gets at most as many as it has ties.
fn share_out_ties() {
  for (var i = 0u; i < LANES; i++) {
    let count = min(remaining, countOneBits(equal[i]));
    pruned_ties[i] = count;
    remaining -= count;
  }
}

// Returns the lowest `count` of the bits of `bits` that are 1. At least `count` bits of `bits` must be 1.
fn first_bits(bits: u32, count: u32) -> u32 {
  var rest = bits;
  for (var i = 0u; i < 32; i++) {
    if i < count {
      rest &= rest - 1;
    }
  }
  return bits & ~rest;
}

// Each invocation handles one group of one row.
@compute @workgroup_size(64)
fn choose_in_groups(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let g = group_params;
  let p = Params(g.rows, g.cols, g.ld, g.row0, g.first, g.words, g.has_forced);
  let groups = (p.cols + g.group - 1) / g.group;
  let index = linear_index(workgroup, grid, local, 64);
  if index >= p.rows * groups {
    return;
  }
  let r = index / groups;
  let start = index % groups * g.group;
  let end = min(start + g.group, p.cols);
  let pruned = end - start - (g.keep * (end - start) + g.group - 1) / g.group;
  for (var c = start; c < end; c++) {
    let key = key_of(p, r, c);
    var rank = 0u;
    for (var other = start; other < end; other++) {
      let other_key = key_of(p, r, other);
      rank += select(0u, 1u, other_key < key || (other_key == key && other < c));
    }
    if rank >= pruned && key != 0 {
      let column = p.first + c;
      atomicOr(&group_mask[(p.row0 + r) * p.words + column / 32], 1u << (column % 32));
    }
  }
}
