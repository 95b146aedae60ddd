// Prunes one block of columns of a weight matrix, and rounds the weights that it keeps. The kernel is described in
// src/device/kernels/quantize_block.ts. The functions of its loop over the columns are in shared/column_loop.wgsl, and
// the arithmetic of the grid is in shared/quantization_grid.wgsl. Both files are prepended to this file.

// The members of Params in shared/column_loop.wgsl, and nine more.
struct QuantizeParams {
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
  keep: u32,
  group: u32,
  grid_size: u32,
  grids: u32,
  max_code: u32,
  symmetric: u32,
  searched: u32,
  scale_dtype: u32,
  scale_limit: u32,
}

@group(0) @binding(6) var<storage, read_write> scales: array<f32>;
@group(0) @binding(7) var<storage, read_write> zeros: array<f32>;
@group(0) @binding(8) var<uniform> quantize_params: QuantizeParams;

// The grid to which this invocation currently rounds.
var<private> grid: QuantizationGrid;
// The quads of candidates in a stage of the search for a row's grid, and the most parts into which the columns of the
// grid are divided among the lanes.
const QUADS: u32 = CANDIDATES / 4;
const MAX_PARTS: u32 = 4;
// 1/U[j,j] for each column j of the block.
var<workgroup> importances: array<f32, MAX_SIZE>;
// The errors of each part, quad by quad.
var<workgroup> candidate_errors: array<vec4f, ROWS * QUADS * MAX_PARTS>;

// Rounds or prunes the entry in column j. `weight` is its weight with the updates so far, and `pivot` is U[j,j].
// Returns the new weight and the error divided by the pivot.
fn settle(lane: Lane, j: u32, weight: f32, pivot: f32) -> Settled {
  let zero = floor(grid.zero);
  let code = clamp(round((weight + grid.offset) / grid.scale) + zero, 0, f32(quantize_params.max_code));
  let rounded = (code - zero) * grid.scale - grid.offset;
  // A negative scale makes −0 of the weight 0. If the scale is infinite, the result must not become a number.
  let kept = select(rounded, 0, rounded == 0 || is_pruned(lane, j));
  return Settled(kept, (weight - kept) / pivot);
}

// Returns whether the mask forces the entry in column j to be pruned, because its bit is 0. The mask is not
// written before the end of the loop, so all lanes read the same bits.
fn is_forced(p: Params, lane: Lane, j: u32) -> bool {
  let column = p.first + j;
  return ((mask[lane.matrix_row * p.words + column / 32] >> (column % 32)) & 1) == 0;
}

// Marks the entries of the row whose mask bit is 0 as pruned. A lane writes the same words of `pruned` that it
// cleared in `load_row`.
fn load_mask(p: Params, lane: Lane) {
  if !lane.exists {
    return;
  }
  let shift = p.first % 32;
  let first_word = lane.matrix_row * p.words + p.first / 32;
  for (var i = lane.index; i * 32 < p.size; i += LANES) {
    // The bits of columns after the end of the block are not used.
    let kept = (mask[first_word + i] >> shift) | select(mask[first_word + i + 1] << (32 - shift), 0, shift == 0);
    atomicStore(&pruned[lane.local_row * WORDS + i], ~kept);
  }
}

// Returns the weight in column c as a grid sees it. For a search, a pruned entry is 0, so that it adds no error.
fn grid_weight(q: QuantizeParams, lane: Lane, c: u32) -> f32 {
  return select(weights[lane.local_row * STRIDE + c], 0, q.searched == 1 && is_pruned(lane, c));
}

// Returns the factor of the scales of the row, with which no group of the block needs a larger integer than the limit.
fn fit_factor(q: QuantizeParams, lane: Lane, rule: GridRule) -> f32 {
  var factor = 0.0;
  for (var first = 0u; first < q.size; first += q.grid_size) {
    var low = 0.0;
    var high = low;
    for (var c = first; c < min(first + q.grid_size, q.size); c++) {
      let weight = grid_weight(q, lane, c);
      low = min(low, weight);
      high = max(high, weight);
    }
    factor = max(factor, least_factor(low, high, rule));
  }
  return round_to_dtype(vec4f(select(factor, 1, factor < MIN_SCALE)), q.scale_dtype).x;
}

// Computes the grid of the row's weights in the columns start … end−1 from their extremes. Every lane computes the
// whole grid. For a search, the function also stores the weights in `kept_weights`, where the results of these columns
// are written later. An asymmetric grid is free if it has two levels and no weight of the columns is 0 or pruned.
fn fit_grid(q: QuantizeParams, lane: Lane, start: u32, end: u32, rule: ptr<function, GridRule>) {
  if !lane.exists {
    return;
  }
  var low = 0.0;
  var high = 0.0;
  var free = q.scale_limit > 0 && q.symmetric == 0 && q.group == 0;
  for (var c = start; c < end; c++) {
    let weight = grid_weight(q, lane, c);
    free = free && weight != 0 && !is_pruned(lane, c);
    if q.searched == 1 && (c - start) % LANES == lane.index {
      kept_weights[lane.local_row * STRIDE + c] = weight;
    }
    low = min(low, weight);
    high = max(high, weight);
  }
  (*rule).free = free;
  grid = quantization_grid(low, high, *rule);
}

// Replaces the grid by the candidate with the smallest error in the columns start … end−1. The lanes of a row share
// the quads of candidates and the columns.
fn search_stage(lane: Lane, start: u32, end: u32, rule: GridRule, stage: u32) {
  let errors = lane.local_row * QUADS * MAX_PARTS;
  let parts = clamp(LANES / QUADS, 1, MAX_PARTS);
  let part = lane.index / QUADS;
  if lane.exists && part < parts {
    for (var quad = lane.index % QUADS; quad < QUADS; quad += min(LANES, QUADS)) {
      let candidates = candidates_of(grid, stage, quad, rule);
      let inverses = 1 / candidates.scales;
      var sums = vec4f();
      for (var c = start + part; c < end; c += parts) {
        let weight = kept_weights[lane.local_row * STRIDE + c];
        sums += grid_errors_of(candidates, inverses, rule.max_code, weight, importances[c]);
      }
      candidate_errors[errors + quad * MAX_PARTS + part] = sums;
    }
  }
  workgroupBarrier();
  if lane.exists {
    var best = BestCandidate(0, candidate_errors[errors].x);
    for (var other = 1u; other < parts; other++) {
      best.error += candidate_errors[errors + other].x;
    }
    for (var quad = 0u; quad < QUADS; quad++) {
      var sums = candidate_errors[errors + quad * MAX_PARTS];
      for (var other = 1u; other < parts; other++) {
        sums += candidate_errors[errors + quad * MAX_PARTS + other];
      }
      best = better_candidate(best, quad, sums);
    }
    grid = candidate_grid(grid, stage, best.n, rule);
  }
  workgroupBarrier();
}

// Stores the grid of the columns from `start` on.
fn store_grid(q: QuantizeParams, lane: Lane, start: u32) {
  if lane.exists && lane.index == 0 {
    let at = lane.matrix_row * q.grids + (q.first + start) / q.grid_size;
    scales[at] = grid.scale;
    zeros[at] = grid.zero;
  }
}

@compute @workgroup_size(ROWS * LANES)
fn quantize_block(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let q = quantize_params;
  let p = Params(
    q.rows, q.size, q.row0, q.ldwork, q.u_offset, q.ldu, q.w_offset, q.ldw, q.first, q.words,
  );
  let lane = find_lane(p, workgroup.x, local);
  load_row(p, lane);
  load_mask(p, lane);
  if q.searched == 1 {
    for (var c = local; c < p.size; c += ROWS * LANES) {
      importances[c] = 1 / u_at(p.u_offset + c * p.ldu + c);
    }
  }
  if lane.exists && q.grid_size == 0 {
    grid = QuantizationGrid(scales[lane.matrix_row], zeros[lane.matrix_row], 0);
  }
  workgroupBarrier();
  var rule = GridRule(f32(q.max_code), q.symmetric == 1, q.searched == 1, q.scale_dtype, q.scale_limit, 0, false);
  if q.scale_limit > 0 && lane.exists {
    rule.factor = fit_factor(q, lane, rule);
  }
  var totals = vec2f();
  let unit = select(select(SEGMENT, q.group, q.group > 0), q.grid_size, q.grid_size > 0);
  let group = select(unit, q.group, q.group > 0);
  let step = span_size(unit);
  for (var span = 0u; span < p.size; span += step) {
    let span_end = min(span + step, p.size);
    update_span(p, lane, span, span_end);
    for (var first = span; first < span_end; first += unit) {
      let unit_end = min(first + unit, span_end);
      if q.grid_size > 0 {
        fit_grid(q, lane, first, unit_end, &rule);
        if q.searched == 1 {
          workgroupBarrier();
          search_stage(lane, first, unit_end, rule, 0);
          search_stage(lane, first, unit_end, rule, 1);
        }
        store_grid(q, lane, first);
        workgroupBarrier();
      }
      for (var start = first; start < unit_end; start += group) {
        let end = min(start + group, unit_end);
        if q.group > 0 {
          let kept = (q.keep * (end - start) + group - 1) / group;
          choose_in_group(p, lane, start, end, end - start - kept);
          workgroupBarrier();
        }
        for (var segment = start; segment < end; segment += SEGMENT) {
          totals += sweep_segment(p, lane, segment, min(SEGMENT, end - segment), span_end);
          workgroupBarrier();
        }
      }
    }
  }
  totals.y += store_row(p, lane);
  store_mask(p, lane);
  store_sums(lane, totals);
}
