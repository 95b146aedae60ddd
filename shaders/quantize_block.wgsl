// Prunes one block, which is some consecutive columns of a weight matrix, and rounds the weights that it keeps.
// The kernel is described in src/device/kernels/quantize_block.ts. The functions of its loop over the columns are in
// shared/column_loop.wgsl, and the arithmetic of the grid is in shared/quantization_grid.wgsl. Both files are
// prepended to this file. Lanes are the invocations that share one row. Segments and spans are ranges of
// columns, which shared/column_loop.wgsl explains. A group is the
// m columns in which an n:m pattern keeps n. A grid is the set of values that weights are rounded to. A unit is a
// run of columns whose weights must all be up to date when the loop reaches the first of them.

// The members of Params in shared/column_loop.wgsl, and six more.
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
}

@group(0) @binding(6) var<storage, read_write> scales: array<f32>;
@group(0) @binding(7) var<storage, read_write> zeros: array<f32>;
@group(0) @binding(8) var<uniform> quantize_params: QuantizeParams;

// The grid to which this invocation currently rounds.
var<private> grid: QuantizationGrid;

// Rounds or prunes the entry in column j. `weight` is its weight with the updates so far, and `pivot` is U[j,j].
// Returns the new weight and the error divided by the pivot.
fn settle(lane: Lane, j: u32, weight: f32, pivot: f32) -> Settled {
  let code = clamp(round(weight / grid.scale) + grid.zero, 0, f32(quantize_params.max_code));
  let kept = select((code - grid.zero) * grid.scale, 0, is_pruned(lane, j));
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

// Computes the grid of the row's weights in the columns start … end−1. Every lane computes the whole grid.
fn fit_grid(q: QuantizeParams, lane: Lane, start: u32, end: u32) {
  if !lane.exists {
    return;
  }
  var low = 0.0;
  var high = 0.0;
  for (var c = start; c < end; c++) {
    low = min(low, weights[lane.local_row * STRIDE + c]);
    high = max(high, weights[lane.local_row * STRIDE + c]);
  }
  grid = quantization_grid(low, high, f32(q.max_code), q.symmetric == 1);
  if lane.index == 0 {
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
  if lane.exists && q.grid_size == 0 {
    grid = QuantizationGrid(scales[lane.matrix_row], zeros[lane.matrix_row]);
  }
  workgroupBarrier();
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
        fit_grid(q, lane, first, unit_end);
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
