// Removes weights one at a time, independently in each row. src/device/kernels/remove_weights.ts describes the method
// and the buffers. A workgroup handles one row, and each invocation always handles the same quads of the row.

struct Params {
  rows: u32,
  cols: u32,
  ld: u32,
  depth: u32,
  start: u32,
  steps: u32,
  keep: u32,
  group: u32,
}

@group(0) @binding(0) var<storage, read> inverse: array<vec4f>;
@group(0) @binding(1) var<storage, read> bounds: array<vec4f>;
@group(0) @binding(2) var<storage, read> limits: array<u32>;
@group(0) @binding(3) var<storage, read_write> weights: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> diagonal: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> states: array<vec4u>;
@group(0) @binding(6) var<storage, read_write> vectors: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> trace: array<u32>;
@group(0) @binding(8) var<uniform> params: Params;

// Invocations per workgroup.
const SIZE: u32 = 256;
// The largest number of columns.
const MAX_COLUMNS: u32 = 3072;
// The values of `states`, which src/device/kernels/remove_weights.ts explains.
const REMOVED: u32 = 0;
const CANDIDATE: u32 = 1;
const FORCED: u32 = 2;
const LOCKED: u32 = 3;
// The key of a weight that may not be removed. It is larger than the key of every score, even of NaN.
const NO_KEY: u32 = 0xffffffff;

// The element v_i[p] of the vector v_i of each earlier step i.
var<workgroup> coefficients: array<f32, MAX_COLUMNS>;
// For each invocation, the smallest key of its columns and the first column that has it.
var<workgroup> keys: array<u32, SIZE>;
var<workgroup> columns: array<u32, SIZE>;
// The column and the key of the weight that is removed. All invocations read them.
var<workgroup> removal: vec2u;
// The number of weights of a group that are not removed.
var<workgroup> group_weights: atomic<u32>;

// Returns the key of a weight. Keys have the same order as the scores. Forced weights have key 0, which is
// less than the key of every score.
fn key_of(state: u32, score: f32) -> u32 {
  if state == CANDIDATE {
    return (bitcast<u32>(score) & 0x7fffffff) + 1;
  }
  return select(NO_KEY, 0, state == FORCED);
}

// Returns the column of the weight to remove and its key, which is NO_KEY if no weight may be removed. `row` is the
// index of the row's first quad.
fn choose_weight(row: u32, local: u32) -> vec2u {
  var key = NO_KEY;
  var column = 0u;
  for (var q = local; q < params.ld / 4; q += SIZE) {
    let state = states[row + q];
    let score = weights[row + q] / sqrt(diagonal[row + q]);
    let quad = vec4u(
      key_of(state.x, score.x), key_of(state.y, score.y), key_of(state.z, score.z), key_of(state.w, score.w),
    );
    let smallest = min(min(quad.x, quad.y), min(quad.z, quad.w));
    if smallest < key {
      key = smallest;
      column = 4 * q + select(select(select(3u, 2u, quad.z == key), 1u, quad.y == key), 0u, quad.x == key);
    }
  }
  keys[local] = key;
  columns[local] = column;
  for (var half = SIZE / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if local < half {
      let other = local + half;
      if keys[other] < keys[local] || (keys[other] == keys[local] && columns[other] < columns[local]) {
        keys[local] = keys[other];
        columns[local] = columns[other];
      }
    }
  }
  if local == 0 {
    removal = vec2u(columns[0], keys[0]);
    atomicStore(&group_weights, 0);
  }
  return workgroupUniformLoad(&removal);
}

// Removes the weight in column p, as step k of row r.
fn remove_weight(r: u32, k: u32, p: u32, local: u32) {
  let quads = params.ld / 4;
  let row = r * quads;
  let history = r * params.depth * quads;
  let w = weights[row + p / 4][p % 4];
  let root = sqrt(diagonal[row + p / 4][p % 4]);
  let error = w / root;
  for (var i = local; i < k; i += SIZE) {
    coefficients[i] = vectors[history + i * quads + p / 4][p % 4];
  }
  workgroupBarrier();
  for (var q = local; q < quads; q += SIZE) {
    // Starts as H⁻¹[:, p], at the four columns of quad q. Subtracting the contributions of the earlier steps
    // makes it G[:, p].
    var column = inverse[p * quads + q];
    var i = 0u;
    for (; i + 4 <= k; i += 4) {
      let at = history + i * quads + q;
      column -= coefficients[i] * vectors[at] + coefficients[i + 1] * vectors[at + quads] +
        coefficients[i + 2] * vectors[at + 2 * quads] + coefficients[i + 3] * vectors[at + 3 * quads];
    }
    for (; i < k; i++) {
      column -= coefficients[i] * vectors[history + i * quads + q];
    }
    let state = states[row + q];
    let is_removed = vec4u(4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3) == vec4u(p);
    let v = select(column / root, vec4f(), state == vec4u(REMOVED));
    vectors[history + k * quads + q] = v;
    diagonal[row + q] = max(diagonal[row + q] - v * v, bounds[q]);
    weights[row + q] = select(weights[row + q] - error * v, vec4f(), is_removed);
    states[row + q] = select(state, vec4u(REMOVED), is_removed);
  }
  if local == 0 {
    let entry = 2 * (r * params.depth + k);
    trace[entry] = p + 1;
    trace[entry + 1] = bitcast<u32>(abs(error));
  }
}

// Locks the candidates of the group of column p if the group has no more weights than it must keep.
fn lock_group(row: u32, p: u32, local: u32) {
  let start = p / params.group * params.group;
  let size = min(params.group, params.cols - start);
  // Each invocation reads and writes a whole quad, because writing one component of a vector may write the others.
  let q = start / 4 + local;
  let column = vec4u(4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3);
  let is_member = (column >= vec4u(start)) & (column < vec4u(start + size));
  var state = vec4u(REMOVED);
  if any(is_member) {
    state = states[row + q];
    let weights_here = select(vec4u(0), vec4u(1), is_member & (state != vec4u(REMOVED)));
    atomicAdd(&group_weights, dot(weights_here, vec4u(1)));
  }
  workgroupBarrier();
  let kept = (params.keep * size + params.group - 1) / params.group;
  if any(is_member) && atomicLoad(&group_weights) <= kept {
    states[row + q] = select(state, vec4u(LOCKED), is_member & (state == vec4u(CANDIDATE)));
  }
}

@compute @workgroup_size(SIZE)
fn remove_weights(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let r = linear_index(workgroup, grid, 0, 1);
  if r >= params.rows {
    return;
  }
  let row = r * (params.ld / 4);
  let end = min(params.start + params.steps, limits[r]);
  for (var k = params.start; k < end; k++) {
    let removed = choose_weight(row, local);
    if removed.y == NO_KEY {
      break;
    }
    remove_weight(r, k, removed.x, local);
    storageBarrier();
    workgroupBarrier();
    if params.group > 0 {
      lock_group(row, removed.x, local);
      storageBarrier();
      workgroupBarrier();
    }
  }
}
