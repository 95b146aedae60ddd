// Prunes one block of columns; the contract is in src/kernels/prune_block.ts. How the entries to prune are chosen is
// here, for the whole block (unstructured) or a group at a time (n:m); the loop over columns is shared/column_loop.wgsl.

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

@group(0) @binding(6) var<storage, read> keys: array<u32>;
@group(0) @binding(7) var<storage, read_write> selection: array<u32>;
@group(0) @binding(8) var<uniform> params: Params;

@group(0) @binding(6) var<storage, read> forced: array<u32>;
@group(0) @binding(7) var<uniform> group_params: GroupParams;

// A word of flags an invocation: 32 keys.
fn compare_keys(p: Params, at: Place) {
  if !at.live {
    return;
  }
  let threshold = selection[0];
  let row = at.matrix_row * p.size;
  for (var i = at.lane; i * 32 < p.size; i += LANES) {
    var below = 0u;
    var equal = 0u;
    for (var j = i * 32; j < min(i * 32 + 32, p.size); j++) {
      let key = keys[row + j];
      below |= u32(key < threshold) << (j % 32);
      equal |= u32(key == threshold) << (j % 32);
    }
    atomicStore(&pruned[at.local_row * WORDS + i], below);
    atomicStore(&tied[at.local_row * WORDS + i], equal);
  }
}

// The first of the row's ties, as many as selection[2 + row] says.
fn choose_ties(at: Place) {
  if !at.live || at.lane > 0 {
    return;
  }
  var left = selection[2 + at.matrix_row];
  for (var i = 0u; i < WORDS && left > 0; i++) {
    var ties = atomicLoad(&tied[at.local_row * WORDS + i]);
    var chosen = 0u;
    while left > 0 && ties != 0 {
      let lowest = ties & (~ties + 1);
      chosen |= lowest;
      ties ^= lowest;
      left--;
    }
    atomicOr(&pruned[at.local_row * WORDS + i], chosen);
  }
  selection[2 + at.matrix_row] = left;
}

// Orders a group's entries for pruning: 0 for a forced one, and more than 0 for others.
fn group_key(p: Params, has_forced: bool, at: Place, j: u32) -> u32 {
  if has_forced {
    let column = p.first + j;
    if ((forced[at.matrix_row * p.words + column / 32] >> (column % 32)) & 1) == 1 {
      return 0;
    }
  }
  let score = weights[at.local_row * STRIDE + j] / u_at(p.u_offset + j * p.ldu + j);
  return (bitcast<u32>(score) & 0x7fffffff) + 1;
}

// Prunes the forced entries of columns start … end−1, and those with fewer than `quota` others before them.
fn choose_in_group(p: Params, has_forced: bool, at: Place, start: u32, end: u32, quota: u32) {
  if !at.live {
    return;
  }
  for (var j = start + at.lane; j < end; j += LANES) {
    let key = group_key(p, has_forced, at, j);
    var rank = 0u;
    for (var other = start; other < end; other++) {
      let other_key = group_key(p, has_forced, at, other);
      rank += select(0u, 1u, other_key < key || (other_key == key && other < j));
    }
    if rank < quota || key == 0 {
      atomicOr(&pruned[at.local_row * WORDS + j / 32], 1u << (j % 32));
    }
  }
}

@compute @workgroup_size(ROWS * LANES)
fn prune_block(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let p = params;
  let at = place(p, workgroup.x, local);
  load_row(p, at);
  workgroupBarrier();
  compare_keys(p, at);
  workgroupBarrier();
  choose_ties(at);
  workgroupBarrier();
  var totals = vec2f();
  for (var unit = 0u; unit < p.size; unit += UNIT) {
    let end = min(unit + UNIT, p.size);
    bring_up(p, at, unit, end);
    for (var start = unit; start < end; start += PANEL) {
      totals += sweep_panel(p, at, start, min(PANEL, end - start), end);
      workgroupBarrier();
    }
  }
  store_mask(p, at);
  store_sums(at, totals);
}

@compute @workgroup_size(ROWS * LANES)
fn prune_block_n_m(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let g = group_params;
  let p = Params(
    g.rows, g.size, g.row0, g.ldwork, g.u_offset, g.ldu, g.w_offset, g.ldw, g.first, g.words,
  );
  let at = place(p, workgroup.x, local);
  load_row(p, at);
  workgroupBarrier();
  var totals = vec2f();
  // Whole groups, unless one unit holds every block.
  let unit_size = select(max(UNIT / g.group, 1) * g.group, UNIT, UNIT == MAX_SIZE);
  for (var unit = 0u; unit < p.size; unit += unit_size) {
    let unit_end = min(unit + unit_size, p.size);
    bring_up(p, at, unit, unit_end);
    for (var start = unit; start < unit_end; start += g.group) {
      let end = min(start + g.group, unit_end);
      let kept = (g.keep * (end - start) + g.group - 1) / g.group;
      choose_in_group(p, g.has_forced == 1, at, start, end, end - start - kept);
      workgroupBarrier();
      for (var panel = start; panel < end; panel += PANEL) {
        totals += sweep_panel(p, at, panel, min(PANEL, end - panel), unit_end);
        workgroupBarrier();
      }
    }
  }
  store_mask(p, at);
  store_sums(at, totals);
}
