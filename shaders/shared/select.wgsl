// The parts that select.wgsl and select_block.wgsl share: the key of an entry, and a scan over a workgroup of BINS
// invocations.

struct ScoreParams {
  rows: u32,
  cols: u32,
  ld: u32,
  first: u32,
  words: u32,
  has_forced: u32,
}

@group(0) @binding(0) var<storage, read> score_work: array<f32>;
@group(0) @binding(1) var<storage, read> score_scale: array<f32>;
@group(0) @binding(2) var<storage, read> score_forced: array<u32>;
@group(0) @binding(3) var<storage, read_write> score_keys_out: array<u32>;

// One histogram bin for each value of a byte.
const BINS: u32 = 256;
// Keys per invocation of the kernels that count digits. The grids in src/kernels depend on this constant.
const KEYS_PER_INVOCATION: u32 = 16;
var<workgroup> prefix: array<u32, BINS>;

// Returns the sum of `value` over this invocation and all earlier invocations of the workgroup. The method is
// the parallel scan of Hillis and Steele.
fn inclusive_scan(local: u32, value: u32) -> u32 {
  prefix[local] = value;
  var sum = value;
  for (var distance = 1u; distance < BINS; distance *= 2) {
    workgroupBarrier();
    if local >= distance {
      sum += prefix[local - distance];
    }
    workgroupBarrier();
    prefix[local] = sum;
  }
  workgroupBarrier();
  return sum;
}

// Returns the key of entry `index` of the block, counted row by row.
fn key_of(p: ScoreParams, index: u32) -> u32 {
  let r = index / p.cols;
  let c = index % p.cols;
  let column = p.first + c;
  let score = score_work[r * p.ld + c] * score_scale[column];
  var key = (bitcast<u32>(score) & 0x7fffffff) + 1;
  if p.has_forced == 1 {
    let word = score_forced[r * p.words + column / 32];
    key = select(key, 0, ((word >> (column % 32)) & 1) == 1);
  }
  return key;
}
