// Chooses which entries of each row to keep. src/device/kernels/selection/choose_in_rows.ts describes the buffers, and
// src/device/kernels/selection/select.ts the method. A workgroup handles one row. shared/select.wgsl is prepended to
// this file.

struct Params {
  rows: u32,
  cols: u32,
  ld: u32,
  row0: u32,
  words: u32,
  has_forced: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read> forced: array<u32>;
@group(0) @binding(3) var<storage, read> counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> mask: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

// The number of invocations per workgroup. Each has one bin of the histogram.
const LANES: u32 = BINS;
// The number of bytes of a key.
const LEVELS: u32 = 4;

var<workgroup> bins: array<atomic<u32>, BINS>;
// x has the bytes of the threshold that are known so far. y is the number of entries to prune among the keys
// that begin with these bytes.
var<workgroup> selection: vec2u;

fn key_of(r: u32, c: u32) -> u32 {
  if params.has_forced == 1 {
    if ((forced[(params.row0 + r) * params.words + c / 32] >> (c % 32)) & 1) == 1 {
      return 0;
    }
  }
  return key_of_score(x[r * params.ld + c] * scale[c], false);
}

// Finds the byte at `level` of the threshold of row r. `known` has the more significant bytes and the number
// of entries to prune, as in `selection`. Returns both with the new byte included.
fn narrow_threshold(r: u32, level: u32, known: vec2u, local: u32) -> vec2u {
  let shift = 24 - 8 * level;
  let above = bytes_above(level);
  atomicStore(&bins[local], 0);
  if local == 0 {
    selection = known;
  }
  workgroupBarrier();
  for (var c = local; c < params.cols; c += LANES) {
    let key = key_of(r, c);
    if ((key ^ known.x) & above) == 0 {
      atomicAdd(&bins[(key >> shift) & 0xff], 1);
    }
  }
  workgroupBarrier();
  let count = atomicLoad(&bins[local]);
  let reached = inclusive_scan(local, count);
  let below = reached - count;
  // If nothing is to be pruned, no bin fits, and the threshold stays 0.
  if below < known.y && known.y <= reached {
    selection = vec2u(known.x | (local << shift), known.y - below);
  }
  return workgroupUniformLoad(&selection);
}

// Returns mask word i of row r with a 1 for each column whose key equals the threshold.
fn tied_bits(r: u32, i: u32, threshold: u32) -> u32 {
  var bits = 0u;
  for (var bit = 0u; bit < 32; bit++) {
    let c = 32 * i + bit;
    if c < params.cols {
      bits |= u32(key_of(r, c) == threshold) << bit;
    }
  }
  return bits;
}

// Returns mask word i of row r with a 1 for each column that is kept, if the first `ties` ties of the word
// are pruned. The second element of the result is the number of ties of the word that were pruned.
fn kept_bits(r: u32, i: u32, threshold: u32, ties: u32) -> vec2u {
  var bits = 0u;
  var pruned = 0u;
  for (var bit = 0u; bit < 32; bit++) {
    let c = 32 * i + bit;
    if c < params.cols {
      let key = key_of(r, c);
      let prunes_tie = key == threshold && pruned < ties;
      pruned += u32(prunes_tie);
      bits |= u32(key >= threshold && key != 0 && !prunes_tie) << bit;
    }
  }
  return vec2u(bits, pruned);
}

@compute @workgroup_size(LANES)
fn choose_in_rows(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let r = linear_index(workgroup, grid, 0, 1);
  if r >= params.rows {
    return;
  }
  var found = vec2u(0, counts[params.row0 + r]);
  for (var level = 0u; level < LEVELS; level++) {
    found = narrow_threshold(r, level, found, local);
  }

  // Each invocation handles some consecutive words of the mask, so that ties are pruned from left to right.
  let span = (params.words + LANES - 1) / LANES;
  let start = min(local * span, params.words);
  let end = min(start + span, params.words);
  var ties = 0u;
  for (var i = start; i < end; i++) {
    ties += countOneBits(tied_bits(r, i, found.x));
  }
  let before = inclusive_scan(local, ties) - ties;
  var remaining = found.y - min(found.y, before);
  for (var i = start; i < end; i++) {
    let kept = kept_bits(r, i, found.x, remaining);
    mask[(params.row0 + r) * params.words + i] = kept.x;
    remaining -= kept.y;
  }
}
