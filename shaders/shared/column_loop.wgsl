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
@group(0) @binding(1) var<storage, read> u: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> q: array<f32>;
@group(0) @binding(4) var<storage, read_write> mask: array<u32>;
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;

const ROWS: u32 = 8;
// Invocations a row. Many hide the latency of a GPU; one does no work twice, which is what a software adapter needs.
override LANES: u32 = 16;
const PANEL: u32 = 4;
// Columns a panel's errors are spread over at once; those further on gather theirs when it is their turn (`bring_up`). All of them
// on a GPU, whose lanes share that work. Few on a software adapter, where storing a weight costs far more than an update of it.
// One smaller than MAX_SIZE needs LANES = 1: a row's errors take the place of its weights, which other lanes would still read.
override UNIT: u32 = MAX_SIZE;
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

fn u_at(at: u32) -> f32 {
  return u[at / 4][at % 4];
}

// Spreads the errors of all columns before `start` over columns start … end−1, the unit about to be swept.
fn bring_up(p: Params, at: Place, start: u32, end: u32) {
  if start == 0 || !at.live {
    return;
  }
  let row = at.local_row * STRIDE;
  if (p.u_offset | p.ldu | start) % 4 > 0 {
    for (var c = start; c < end; c++) {
      for (var s = 0u; s < start; s++) {
        weights[row + c] -= weights[row + s] * u_at(p.u_offset + s * p.ldu + c);
      }
    }
    return;
  }
  for (var c = start; c < end; c += 16) {
    // Past `end` the sums are of whatever is there, and are dropped.
    var sums0 = vec4f();
    var sums1 = vec4f();
    var sums2 = vec4f();
    var sums3 = vec4f();
    for (var s = 0u; s < start; s++) {
      let error = weights[row + s];
      let quad = (p.u_offset + s * p.ldu + c) / 4;
      sums0 += error * u[quad];
      sums1 += error * u[quad + 1];
      sums2 += error * u[quad + 2];
      sums3 += error * u[quad + 3];
    }
    let width = end - c;
    for (var t = 0u; t < 4; t++) {
      if t < width { weights[row + c + t] -= sums0[t]; }
      if t + 4 < width { weights[row + c + t + 4] -= sums1[t]; }
      if t + 8 < width { weights[row + c + t + 8] -= sums2[t]; }
      if t + 12 < width { weights[row + c + t + 12] -= sums3[t]; }
    }
  }
}

// Columns start … start+width−1, width ≤ PANEL, of a unit that ends at `end`. Returns Σ err² and this invocation's share of Σ Δ².
fn sweep_panel(p: Params, at: Place, start: u32, width: u32, end: u32) -> vec2f {
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
      let error = select(0, panel[s] / u_at(u_row + s), drop);
      errors[s] = error;
      totals.x += error * error;
      for (var t = s + 1; t < PANEL; t++) {
        if t < width {
          panel[t] -= error * u_at(u_row + t);
        }
      }
      if at.lane == s % LANES {
        let element = at.row * p.ldw + p.w_offset + j;
        let delta = w[element] - kept;
        q[element] = kept;
        w[element] = delta;
        totals.y += delta * delta;
      }
      if UNIT < MAX_SIZE {
        weights[row + j] = error; // for `bring_up`
      }
    }
  }
  // Past the panel's width the error is 0, and the row of U read is clamped to one that exists.
  let panel_rows = vec4u(start) + min(vec4u(0, 1, 2, 3), vec4u(width - 1));
  let u_rows = vec4u(p.u_offset) + panel_rows * p.ldu;
  for (var c = start + width + at.lane; c < end; c += LANES) {
    var updated = weights[row + c];
    updated -= errors[0] * u_at(u_rows[0] + c);
    updated -= errors[1] * u_at(u_rows[1] + c);
    updated -= errors[2] * u_at(u_rows[2] + c);
    updated -= errors[3] * u_at(u_rows[3] + c);
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
