// The functions that the two kernels of prune_block.wgsl share: the loop over the columns of a block, which prunes entries and subtracts
// their errors from later columns, and the functions that load the weights and store the results. Before a column is handled, the kernels
// have decided which of its entries to prune, and recorded that as bits in workgroup memory.
//
// A workgroup handles 8 rows of the block. LANES invocations, called the lanes of the row, share each row. They handle the columns in
// segments of 4. Every lane computes all errors of a segment in its own registers, and then updates its share of the later columns. So there
// is one barrier per segment and not one per column.

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

// Rows of a workgroup.
const ROWS: u32 = 8;
// Lanes of a row. On a GPU, many lanes hide latency. On a software adapter one lane is best, because several would only repeat the work.
override LANES: u32 = 16;
// Columns of a segment.
const SEGMENT: u32 = 4;
// Columns of a span. The errors of a segment are subtracted at once from the later columns of its span, and each span first subtracts the
// errors of all spans before it (`update_span`). On a GPU, a span holds the whole block, because the lanes share the updates. On a software
// adapter a span is short, because storing a weight costs far more than computing an update, and a sum needs only one store.
// A span shorter than the block needs LANES = 1, because the errors of a row overwrite its weights while other lanes would still read them.
override SPAN: u32 = MAX_SIZE;
// Columns of the largest block.
const MAX_SIZE: u32 = 256;
// Elements from one row to the next in workgroup memory. Neighbouring rows start 16 banks apart, so 32 invocations access 32 banks.
const STRIDE: u32 = MAX_SIZE + 16;
// Words that hold one bit per column.
const WORDS: u32 = MAX_SIZE / 32;

// The weights with the updates so far, row by row.
var<workgroup> weights: array<f32, ROWS * STRIDE>;
// Bit j%32 of word j/32 of a row is set if column j of the block is pruned.
var<workgroup> pruned: array<atomic<u32>, ROWS * WORDS>;
// Bit j%32 of word j/32 of a row is set if the key of column j equals the threshold.
var<workgroup> tied: array<atomic<u32>, ROWS * WORDS>;

// An invocation and the row that it works on.
struct Lane {
  // The index of the row in the workgroup, in the dispatch and in the matrix.
  local_row: u32,
  row: u32,
  matrix_row: u32,
  // The index of the invocation among the lanes of the row.
  index: u32,
  // False if the dispatch has no such row.
  exists: bool,
}

fn find_lane(p: Params, workgroup: u32, local: u32) -> Lane {
  let local_row = local / LANES;
  let row = workgroup * ROWS + local_row;
  return Lane(local_row, row, p.row0 + row, local % LANES, row < p.rows);
}

// Loads the weights of the row, and clears its bits.
fn load_row(p: Params, lane: Lane) {
  for (var i = lane.index; i < WORDS; i += LANES) {
    atomicStore(&pruned[lane.local_row * WORDS + i], 0);
    atomicStore(&tied[lane.local_row * WORDS + i], 0);
  }
  if lane.exists {
    for (var c = lane.index; c < p.size; c += LANES) {
      weights[lane.local_row * STRIDE + c] = work[lane.matrix_row * p.ldwork + c];
    }
  }
}

fn is_pruned(lane: Lane, j: u32) -> bool {
  return ((atomicLoad(&pruned[lane.local_row * WORDS + j / 32]) >> (j % 32)) & 1) == 1;
}

// An element of the buffer `u`, which is declared as an array of quads.
fn u_at(at: u32) -> f32 {
  return u[at / 4][at % 4];
}

// Subtracts the errors of all columns before `start` from the columns start … end−1, which are the next span.
fn update_span(p: Params, lane: Lane, start: u32, end: u32) {
  if start == 0 || !lane.exists {
    return;
  }
  let row = lane.local_row * STRIDE;
  if (p.u_offset | p.ldu | start) % 4 > 0 {
    // Not every row of U starts at a quad, so elements are read one by one.
    for (var c = start; c < end; c++) {
      for (var s = 0u; s < start; s++) {
        weights[row + c] -= weights[row + s] * u_at(p.u_offset + s * p.ldu + c);
      }
    }
    return;
  }
  for (var c = start; c < end; c += 16) {
    // Past `end`, the sums come from unrelated elements of U and are not used.
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

// Prunes the columns start … start+width−1, where width ≤ SEGMENT, and subtracts their errors from the later columns up to `end`, the end of
// the span. Returns Σ err² of the segment and this lane's share of its Σ Δ².
fn sweep_segment(p: Params, lane: Lane, start: u32, width: u32, end: u32) -> vec2f {
  var totals = vec2f();
  if !lane.exists {
    return totals;
  }
  let row = lane.local_row * STRIDE;
  var segment: array<f32, SEGMENT>;
  var errors: array<f32, SEGMENT>;
  for (var s = 0u; s < SEGMENT; s++) {
    segment[s] = weights[row + start + min(s, width - 1)];
  }
  for (var s = 0u; s < SEGMENT; s++) {
    errors[s] = 0;
    if s < width {
      let j = start + s;
      let u_row = p.u_offset + j * p.ldu + start;
      let prune = is_pruned(lane, j);
      let kept = select(segment[s], 0, prune);
      let error = select(0, segment[s] / u_at(u_row + s), prune);
      errors[s] = error;
      totals.x += error * error;
      for (var t = s + 1; t < SEGMENT; t++) {
        if t < width {
          segment[t] -= error * u_at(u_row + t);
        }
      }
      if lane.index == s % LANES {
        let element = lane.row * p.ldw + p.w_offset + j;
        let delta = w[element] - kept;
        q[element] = kept;
        w[element] = delta;
        totals.y += delta * delta;
      }
      if SPAN < MAX_SIZE {
        weights[row + j] = error; // read by `update_span`
      }
    }
  }
  // The four columns are written out, so that the number of loop iterations does not depend on the driver. Past the width of the segment
  // the error is 0, and the row of U is clamped to one that exists.
  let columns = vec4u(start) + min(vec4u(0, 1, 2, 3), vec4u(width - 1));
  let u_rows = vec4u(p.u_offset) + columns * p.ldu;
  for (var c = start + width + lane.index; c < end; c += LANES) {
    var updated = weights[row + c];
    updated -= errors[0] * u_at(u_rows[0] + c);
    updated -= errors[1] * u_at(u_rows[1] + c);
    updated -= errors[2] * u_at(u_rows[2] + c);
    updated -= errors[3] * u_at(u_rows[3] + c);
    weights[row + c] = updated;
  }
  return totals;
}

// A word with bits 0 … count−1 set.
fn low_bits(count: u32) -> u32 {
  return select((1u << (count & 31)) - 1, ~0u, count >= 32);
}

// Word i of the bits of the block's columns: a bit is set if the block has that column.
fn column_bits(p: Params, i: u32) -> u32 {
  return select(low_bits(p.size - i * 32), 0, i >= WORDS || i * 32 >= p.size);
}

// Word i of a bit string that is shifted up by `shift` bits, given its words i and i − 1 before the shift.
fn shifted(word: u32, before: u32, shift: u32) -> u32 {
  return select((word << shift) | (before >> (32 - shift)), word, shift == 0);
}

// Word i of the bits of a row: a bit is set if the entry in that column is kept. Words outside of the block are 0.
fn kept_bits(p: Params, lane: Lane, i: u32) -> u32 {
  if i >= WORDS {
    return 0;
  }
  return column_bits(p, i) & ~atomicLoad(&pruned[lane.local_row * WORDS + i]);
}

// Writes the bits of the block's columns in the mask. Other bits of the same words keep their values.
fn store_mask(p: Params, lane: Lane) {
  if !lane.exists {
    return;
  }
  let shift = p.first % 32;
  let first_word = lane.matrix_row * p.words + p.first / 32;
  for (var i = lane.index; i * 32 < shift + p.size; i += LANES) {
    // For i = 0, the index i − 1 wraps around and is past the end, where the bits are 0.
    let columns = shifted(column_bits(p, i), column_bits(p, i - 1), shift);
    let kept = shifted(kept_bits(p, lane, i), kept_bits(p, lane, i - 1), shift);
    mask[first_word + i] = (mask[first_word + i] & ~columns) | kept;
  }
}

// Adds the sums of the row to the buffer. Every lane has the whole Σ err², but only its share of Σ Δ².
fn store_sums(lane: Lane, totals: vec2f) {
  let row = lane.local_row * STRIDE;
  workgroupBarrier();
  weights[row + lane.index] = totals.y;
  workgroupBarrier();
  if lane.exists && lane.index == 0 {
    var delta = 0.0;
    for (var other = 0u; other < LANES; other++) {
      delta += weights[row + other];
    }
    sums[2 * lane.matrix_row] += totals.x;
    sums[2 * lane.matrix_row + 1] += delta;
  }
}
