// The parts that the shaders of selections share: the key of an entry, and a scan over a workgroup of BINS invocations.

// One histogram bin for each value of a byte.
const BINS: u32 = 256;
// Keys per invocation of the kernels that count digits. The grids in src/device/kernels depend on this constant.
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

// A bit mask of the bytes of a key that are more significant than the byte at `level`. At level 0 there are none.
fn bytes_above(level: u32) -> u32 {
  return select(~0u << (32 - 8 * level), 0, level == 0);
}

// Returns the key of an entry: 0 if the entry is forced, and otherwise a positive number with the same order as the
// magnitude of its score.
fn key_of_score(score: f32, is_forced: bool) -> u32 {
  return select((bitcast<u32>(score) & 0x7fffffff) + 1, 0, is_forced);
}
