// What the two kernels of prune_block.wgsl have in common: the column loop, and storing the mask and the sums. A
// workgroup owns 8 rows, LANES invocations a row. Columns go by panels: every invocation of a row works out the panel's
// errors for itself, from registers, and then takes its share of the columns after the panel; so there is a barrier
// a panel, not a column. Which entries to prune is settled beforehand, as bits in workgroup memory.

struct Params {
  rows: u32,
  size: u32,
  row0: u32,
  ldwork: u32,
  u_offset: u32,
  ldu: u32,
  w_offset: u32,
  ldw: u32,
  first: u32,
  words: u32,
}

@group(0) @binding(0) var<storage, read> work: array<f32>;
@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(2) var<storage, read_write> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> q: array<f32>;
@group(0) @binding(4) var<storage, read_write> mask: array<u32>;
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;

const ROWS: u32 = 8;
// Invocations a row. Many hide the latency of a GPU; one does no work twice, which is what a software adapter needs.
override LANES: u32 = 16;
const PANEL: u32 = 4;
const MAX_SIZE: u32 = 256;
// Two rows are 16 banks apart, so that 32 invocations touch 32 banks.
const STRIDE: u32 = MAX_SIZE + 16;
const WORDS: u32 = MAX_SIZE / 32;

// Updated weights, row by row.
var<workgroup> weights: array<f32, ROWS * STRIDE>;
// Bit j%32 of word j/32 of a row: block column j is pruned; its key equals the threshold.
var<workgroup> pruned: array<atomic<u32>, ROWS * WORDS>;
var<workgroup> tied: array<atomic<u32>, ROWS * WORDS>;

// One invocation's place.
struct Place {
  // The row in the workgroup, in the dispatch and in the matrix.
  local_row: u32,
  row: u32,
  matrix_row: u32,
  lane: u32,
  // Whether the row exists.
  live: bool,
}

fn place(p: Params, workgroup: u32, local: u32) -> Place {
  let local_row = local / LANES;
  let row = workgroup * ROWS + local_row;
  return Place(local_row, row, p.row0 + row, local % LANES, row < p.rows);
}

fn load_row(p: Params, at: Place) {
  for (var i = at.lane; i < WORDS; i += LANES) {
    atomicStore(&pruned[at.local_row * WORDS + i], 0);
    atomicStore(&tied[at.local_row * WORDS + i], 0);
  }
  if at.live {
    for (var c = at.lane; c < p.size; c += LANES) {
      weights[at.local_row * STRIDE + c] = work[at.matrix_row * p.ldwork + c];
    }
  }
}

fn is_pruned(at: Place, j: u32) -> bool {
  return ((atomicLoad(&pruned[at.local_row * WORDS + j / 32]) >> (j % 32)) & 1) == 1;
}

// Columns start … start+width−1, width ≤ PANEL. Returns Σ err² and this invocation's share of Σ Δ².
fn sweep_panel(p: Params, at: Place, start: u32, width: u32) -> vec2f {
  var totals = vec2f();
  if !at.live {
    return totals;
  }
  let row = at.local_row * STRIDE;
  var panel: array<f32, PANEL>;
  var errors: array<f32, PANEL>;
  for (var s = 0u; s < PANEL; s++) {
    panel[s] = weights[row + start + min(s, width - 1)];
  }
  for (var s = 0u; s < PANEL; s++) {
    errors[s] = 0;
    if s < width {
      let j = start + s;
      let u_row = p.u_offset + j * p.ldu + start;
      let drop = is_pruned(at, j);
      let kept = select(panel[s], 0, drop);
      let error = select(0, panel[s] / u[u_row + s], drop);
      errors[s] = error;
      totals.x += error * error;
      for (var t = s + 1; t < PANEL; t++) {
        if t < width {
          panel[t] -= error * u[u_row + t];
        }
      }
      if at.lane == s % LANES {
        let element = at.row * p.ldw + p.w_offset + j;
        let delta = w[element] - kept;
        q[element] = kept;
        w[element] = delta;
        totals.y += delta * delta;
      }
    }
  }
  for (var c = start + width + at.lane; c < p.size; c += LANES) {
    var updated = weights[row + c];
    for (var s = 0u; s < PANEL; s++) {
      // Past the panel's width the error is 0, and the row of U read is clamped to one that exists.
      updated -= errors[s] * u[p.u_offset + (start + min(s, width - 1)) * p.ldu + c];
    }
    weights[row + c] = updated;
  }
  return totals;
}

// Bits 0 … count−1.
fn low_bits(count: u32) -> u32 {
  return select((1u << (count & 31)) - 1, ~0u, count >= 32);
}

// Which bits of word i of the block's columns are columns at all.
fn column_bits(p: Params, i: u32) -> u32 {
  return select(low_bits(p.size - i * 32), 0, i >= WORDS || i * 32 >= p.size);
}

// Word i of bits whose bit 0 goes to bit `shift`, from words i and i − 1 of the unshifted ones.
fn shifted(word: u32, before: u32, shift: u32) -> u32 {
  return select((word << shift) | (before >> (32 - shift)), word, shift == 0);
}

// The kept bits of word i of a row, as far as they are columns: none for a word before or after the block's.
fn kept_bits(p: Params, at: Place, i: u32) -> u32 {
  if i >= WORDS {
    return 0;
  }
  return column_bits(p, i) & ~atomicLoad(&pruned[at.local_row * WORDS + i]);
}

fn store_mask(p: Params, at: Place) {
  if !at.live {
    return;
  }
  let shift = p.first % 32;
  let first_word = at.matrix_row * p.words + p.first / 32;
  for (var i = at.lane; i * 32 < shift + p.size; i += LANES) {
    // Word i − 1 wraps around for the first, and so is past the end.
    let columns = shifted(column_bits(p, i), column_bits(p, i - 1), shift);
    let kept = shifted(kept_bits(p, at, i), kept_bits(p, at, i - 1), shift);
    mask[first_word + i] = (mask[first_word + i] & ~columns) | kept;
  }
}

// Every lane has the whole Σ err², and its share of Σ Δ².
fn store_sums(at: Place, totals: vec2f) {
  let row = at.local_row * STRIDE;
  workgroupBarrier();
  weights[row + at.lane] = totals.y;
  workgroupBarrier();
  if at.live && at.lane == 0 {
    var delta = 0.0;
    for (var lane = 0u; lane < LANES; lane++) {
      delta += weights[row + lane];
    }
    sums[2 * at.matrix_row] += totals.x;
    sums[2 * at.matrix_row + 1] += delta;
  }
}
