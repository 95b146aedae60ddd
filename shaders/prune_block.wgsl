// Prunes one block of columns of a weight matrix. The two kernels are described in src/device/kernels/prune_block.ts.
// `prune_block` chooses the entries to prune before its loop over the columns. `prune_block_n_m` chooses them when its
// loop reaches a group of columns, one group at a time. The functions of the loop are in shared/column_loop.wgsl, which
// is prepended to this file.

// The members of Params, and three more.
struct GroupParams {
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
  has_forced: u32,
}

// The bindings that only prune_block has.
@group(0) @binding(6) var<storage, read> keys: array<u32>;
@group(0) @binding(7) var<storage, read_write> selection: array<u32>;
@group(0) @binding(8) var<uniform> params: Params;

// The bindings that only prune_block_n_m has.
@group(0) @binding(6) var<storage, read> forced: array<u32>;
@group(0) @binding(7) var<uniform> group_params: GroupParams;

// Compares the keys of the row with the threshold, and records the results in `pruned` and `tied`. Several lanes read
// neighbouring keys at the same time, and set single bits. A single lane writes whole words of 32 bits, one per key.
fn compare_keys(p: Params, lane: Lane) {
  if !lane.exists {
    return;
  }
  let threshold = selection[0];
  let row = lane.matrix_row * p.size;
  if LANES > 1 {
    for (var j = lane.index; j < p.size; j += LANES) {
      let key = keys[row + j];
      if key < threshold {
        atomicOr(&pruned[lane.local_row * WORDS + j / 32], 1u << (j % 32));
      } else if key == threshold {
        atomicOr(&tied[lane.local_row * WORDS + j / 32], 1u << (j % 32));
      }
    }
    return;
  }
  for (var i = 0u; i * 32 < p.size; i++) {
    var below = 0u;
    var equal = 0u;
    for (var j = i * 32; j < min(i * 32 + 32, p.size); j++) {
      let key = keys[row + j];
      below |= u32(key < threshold) << (j % 32);
      equal |= u32(key == threshold) << (j % 32);
    }
    atomicStore(&pruned[lane.local_row * WORDS + i], below);
    atomicStore(&tied[lane.local_row * WORDS + i], equal);
  }
}

// Prunes the first ties of the row, at most as many as element 2 + matrix_row of `selection` says, and subtracts their
// number from that element.
fn choose_ties(lane: Lane) {
  if !lane.exists || lane.index > 0 {
    return;
  }
  var remaining = selection[2 + lane.matrix_row];
  for (var i = 0u; i < WORDS && remaining > 0; i++) {
    var ties = atomicLoad(&tied[lane.local_row * WORDS + i]);
    var chosen = 0u;
    while remaining > 0 && ties != 0 {
      let lowest = ties & (~ties + 1);
      chosen |= lowest;
      ties ^= lowest;
      remaining--;
    }
    atomicOr(&pruned[lane.local_row * WORDS + i], chosen);
  }
  selection[2 + lane.matrix_row] = remaining;
}

// Decides the entry in column j, whose weight with the updates so far is `weight`. `pivot` is U[j,j].
fn settle(lane: Lane, j: u32, weight: f32, pivot: f32) -> Settled {
  let prune = is_pruned(lane, j);
  return Settled(select(weight, 0, prune), select(0, weight / pivot, prune));
}

// Whether prune_block_n_m must prune the entry in column j.
fn is_forced(p: Params, lane: Lane, j: u32) -> bool {
  if group_params.has_forced == 0 {
    return false;
  }
  let column = p.first + j;
  return ((forced[lane.matrix_row * p.words + column / 32] >> (column % 32)) & 1) == 1;
}

@compute @workgroup_size(ROWS * LANES)
fn prune_block(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let p = params;
  let lane = find_lane(p, workgroup.x, local);
  load_row(p, lane);
  workgroupBarrier();
  compare_keys(p, lane);
  workgroupBarrier();
  choose_ties(lane);
  workgroupBarrier();
  var totals = vec2f();
  for (var span = 0u; span < p.size; span += SPAN) {
    let end = min(span + SPAN, p.size);
    update_span(p, lane, span, end);
    for (var start = span; start < end; start += SEGMENT) {
      totals += sweep_segment(p, lane, start, min(SEGMENT, end - start), end);
      workgroupBarrier();
    }
  }
  totals.y += store_row(p, lane);
  store_mask(p, lane);
  store_sums(lane, totals);
}

@compute @workgroup_size(ROWS * LANES)
fn prune_block_n_m(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let g = group_params;
  let p = Params(
    g.rows, g.size, g.row0, g.ldwork, g.u_offset, g.ldu, g.w_offset, g.ldw, g.first, g.words,
  );
  let lane = find_lane(p, workgroup.x, local);
  load_row(p, lane);
  workgroupBarrier();
  var totals = vec2f();
  let step = span_size(g.group);
  for (var span = 0u; span < p.size; span += step) {
    let span_end = min(span + step, p.size);
    update_span(p, lane, span, span_end);
    for (var start = span; start < span_end; start += g.group) {
      let end = min(start + g.group, span_end);
      let kept = (g.keep * (end - start) + g.group - 1) / g.group;
      choose_in_group(p, lane, start, end, end - start - kept);
      workgroupBarrier();
      for (var segment = start; segment < end; segment += SEGMENT) {
        totals += sweep_segment(p, lane, segment, min(SEGMENT, end - segment), span_end);
        workgroupBarrier();
      }
    }
  }
  totals.y += store_row(p, lane);
  store_mask(p, lane);
  store_sums(lane, totals);
}
