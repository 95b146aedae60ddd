// Functions that the kernels of prune_block.wgsl and quantize_block.wgsl share. A kernel handles one block, and its
// loop goes over the columns of the block. In column j of a row w, it replaces the weight w[j] by its result q, which
// is 0 if the entry was chosen to be pruned. It then subtracts the error err = (w[j] − q)/U[j,j] from the later
// columns: w[c] −= err·U[j,c] for c > j. Here U is an upper triangular matrix. Other functions load the weights and
// store the results. The members of Params and the bindings are explained in src/device/kernels/prune_block.ts.
//
// Before the loop reaches a column, the kernels have chosen the entries to prune and recorded them as bits in workgroup
// memory. The file that this one is prepended to defines two functions: `settle` computes q and err of one entry, and
// `is_forced` says whether an entry of an n:m group must be pruned regardless of its score.
//
// Each workgroup handles 8 rows of the block. Each row is shared by LANES invocations, which are called the lanes of
// the row. The lanes handle the columns in segments of 4. Every lane computes all errors of a segment in its own
// registers, and then updates its share of the later columns. So one barrier per segment is enough.

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

// Rows per workgroup.
const ROWS: u32 = 8;
// Lanes per row, which are 1 or at least SEGMENT. On a GPU, many lanes hide memory latency. On a software adapter,
// which runs shaders on the CPU, one lane is best, because every lane repeats the computation of the errors.
override LANES: u32 = 16;
// Columns per segment.
const SEGMENT: u32 = 4;
// Columns per span, which is a part of the block or the whole block. After each segment, its errors are
// subtracted only from the later columns of the same span. When the loop reaches the next span, `update_span`
// first subtracts the errors of all earlier spans from it. On a GPU, one span holds the whole block, because
// the lanes share the updates. On a software adapter, spans are short, because storing a weight costs far
// more than computing an update, and `update_span` stores each weight once for many updates. If a span is
// shorter than the block, LANES must be 1, because the errors of a row overwrite weights that other lanes
// would still read.
override SPAN: u32 = MAX_SIZE;
// Columns of the largest block.
const MAX_SIZE: u32 = 256;
// The distance between two rows in workgroup memory, in elements. Neighbouring rows start 16 banks apart, so
// that 32 invocations access 32 different banks.
const STRIDE: u32 = MAX_SIZE + 16;
// Words that hold one bit per column.
const WORDS: u32 = MAX_SIZE / 32;

// The elements of `kept_weights`. If rows have only one lane, only a search for grids uses `kept_weights`, and KEPT is
// 1 in the kernels without a search.
override KEPT: u32 = ROWS * STRIDE;

// The weights of the rows, with the updates made so far.
var<workgroup> weights: array<f32, ROWS * STRIDE>;
// The results of the columns that are settled, if rows have several lanes. They are written to memory after the loop
// (`store_row`), because then the lanes of a row write neighbouring elements at the same time.
var<workgroup> kept_weights: array<f32, KEPT>;
// Bit j%32 of word j/32 of a row is set if column j of the block is pruned.
var<workgroup> pruned: array<atomic<u32>, ROWS * WORDS>;
// Bit j%32 of word j/32 of a row is set if the entry in column j is a tie. Only prune_block uses these bits.
var<workgroup> tied: array<atomic<u32>, ROWS * WORDS>;

// An invocation and the row that it works on.
struct Lane {
  // The index of the row within the workgroup, within the dispatch and within the matrix, in this order.
  local_row: u32,
  row: u32,
  matrix_row: u32,
  // The index of the invocation among the lanes of the row.
  index: u32,
  // Whether the dispatch has this row. The last workgroup may have fewer than ROWS rows.
  exists: bool,
}

fn find_lane(p: Params, workgroup: u32, local: u32) -> Lane {
  let local_row = local / LANES;
  let row = workgroup * ROWS + local_row;
  return Lane(local_row, row, p.row0 + row, local % LANES, row < p.rows);
}

// Loads the weights of the row, and clears its bits in `pruned` and `tied`.
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

// Element `at` of the buffer `u`, which is declared as an array of quads.
fn u_at(at: u32) -> f32 {
  return u[at / 4][at % 4];
}

// The columns of a span if every `unit` consecutive columns must lie in one span. The span consists of whole
// units, unless one span holds the whole block.
fn span_size(unit: u32) -> u32 {
  return select(max(SPAN / unit, 1) * unit, SPAN, SPAN == MAX_SIZE);
}

// Subtracts the errors of all columns before `start` from the next span, which is the columns start … end−1.
fn update_span(p: Params, lane: Lane, start: u32, end: u32) {
  if start == 0 || !lane.exists {
    return;
  }
  let row = lane.local_row * STRIDE;
  if (p.u_offset | p.ldu | start) % 4 > 0 {
    // Not all rows of U are aligned to quads, so the elements are read one by one.
    for (var c = start; c < end; c++) {
      for (var s = 0u; s < start; s++) {
        weights[row + c] -= weights[row + s] * u_at(p.u_offset + s * p.ldu + c);
      }
    }
    return;
  }
  for (var c = start; c < end; c += 16) {
    // The sums for columns from `end` on come from unrelated elements of U, and are not used.
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

// The key by which the entries of a group are ordered: 0 if the entry is forced, and otherwise a positive number that
// grows with the entry's score |w[j]/U[j,j]|.
fn group_key(p: Params, lane: Lane, j: u32) -> u32 {
  if is_forced(p, lane, j) {
    return 0;
  }
  let score = weights[lane.local_row * STRIDE + j] / u_at(p.u_offset + j * p.ldu + j);
  return (bitcast<u32>(score) & 0x7fffffff) + 1;
}

// Chooses the entries to prune in the group of columns start … end−1. These are all forced entries, and the
// first `quota` entries in the order of their keys. Entries with equal keys are ordered by column.
fn choose_in_group(p: Params, lane: Lane, start: u32, end: u32, quota: u32) {
  if !lane.exists {
    return;
  }
  for (var j = start + lane.index; j < end; j += LANES) {
    let key = group_key(p, lane, j);
    var rank = 0u;
    for (var other = start; other < end; other++) {
      let other_key = group_key(p, lane, other);
      rank += select(0u, 1u, other_key < key || (other_key == key && other < j));
    }
    if rank < quota || key == 0 {
      atomicOr(&pruned[lane.local_row * WORDS + j / 32], 1u << (j % 32));
    }
  }
}

// Writes the result `kept` of the entry at index `element` of w and q. Returns Δ², where Δ is the difference between
// the original weight and the result.
fn store_result(element: u32, kept: f32) -> f32 {
  let delta = w[element] - kept;
  q[element] = kept;
  w[element] = delta;
  return delta * delta;
}

// Writes the results of the row, if it has several lanes, and returns this lane's share of Σ Δ². With one lane, they
// have been written in the loop, which saves a software adapter a pass over the row.
fn store_row(p: Params, lane: Lane) -> f32 {
  var sum = 0.0;
  if LANES == 1 || !lane.exists {
    return sum;
  }
  let element = lane.row * p.ldw + p.w_offset;
  for (var j = lane.index; j < p.size; j += LANES) {
    sum += store_result(element + j, kept_weights[lane.local_row * STRIDE + j]);
  }
  return sum;
}

// The result of an entry.
struct Settled {
  // The weight q that the entry has in the result. It is 0 if the entry is pruned.
  kept: f32,
  // The error (w − q)/U[j,j].
  error: f32,
}

// Settles the segment of columns start … start+width−1, where width ≤ SEGMENT. Then subtracts their errors
// from the later columns before `end`, where the span ends. Returns Σ err² of the segment and, if rows have one
// lane, Σ Δ², where Δ is the difference between the original weights and the pruned weights.
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
      let settled = settle(lane, j, segment[s], u_at(u_row + s));
      let kept = settled.kept;
      let error = settled.error;
      errors[s] = error;
      totals.x += error * error;
      for (var t = s + 1; t < SEGMENT; t++) {
        if t < width {
          segment[t] -= error * u_at(u_row + t);
        }
      }
      if LANES == 1 {
        totals.y += store_result(lane.row * p.ldw + p.w_offset + j, kept);
      } else if lane.index == s {
        kept_weights[row + j] = kept;
      }
      if SPAN < MAX_SIZE {
        weights[row + j] = error; // read by `update_span`
      }
    }
  }
  // The updates by four columns are written out, because not every driver unrolls loops. If the segment has fewer
  // columns, the missing errors are 0 and are multiplied with the row of U of the last column.
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

// Word i of a bit string in which bit j is set if the block has a column j.
fn column_bits(p: Params, i: u32) -> u32 {
  return select(low_bits(p.size - i * 32), 0, i >= WORDS || i * 32 >= p.size);
}

// Word i of a bit string after a shift up by `shift` < 32 bits. `word` and `before` are its words i and i − 1
// before the shift.
fn shifted(word: u32, before: u32, shift: u32) -> u32 {
  return select((word << shift) | (before >> (32 - shift)), word, shift == 0);
}

// Word i of a bit string in which bit j is set if the row keeps column j. Words past the end of the block are 0.
fn kept_bits(p: Params, lane: Lane, i: u32) -> u32 {
  if i >= WORDS {
    return 0;
  }
  return column_bits(p, i) & ~atomicLoad(&pruned[lane.local_row * WORDS + i]);
}

// Writes the row's bits for the columns of the block into the mask. Other bits of its words do not change.
fn store_mask(p: Params, lane: Lane) {
  if !lane.exists {
    return;
  }
  let shift = p.first % 32;
  let first_word = lane.matrix_row * p.words + p.first / 32;
  for (var i = lane.index; i * 32 < shift + p.size; i += LANES) {
    // For i = 0, the index i − 1 wraps around to a large number, for which both functions return 0.
    let columns = shifted(column_bits(p, i), column_bits(p, i - 1), shift);
    let kept = shifted(kept_bits(p, lane, i), kept_bits(p, lane, i - 1), shift);
    mask[first_word + i] = (mask[first_word + i] & ~columns) | kept;
  }
}

// Adds the sums of the row to the buffer `sums`. Every lane has the whole Σ err², but only its share of Σ Δ².
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
