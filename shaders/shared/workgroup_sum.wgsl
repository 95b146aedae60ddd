// Sums over the invocations of a workgroup, for kernels with one workgroup per row of a matrix.

// Invocations per workgroup.
const SIZE: u32 = 256;
var<workgroup> partials: array<vec2f, SIZE>;

// Returns the sum of `value` over the invocations of the workgroup, component by component.
fn workgroup_sum(local: u32, value: vec2f) -> vec2f {
  workgroupBarrier(); // now every invocation has read the result of the previous call
  partials[local] = value;
  for (var half = SIZE / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if local < half {
      partials[local] += partials[local + half];
    }
  }
  workgroupBarrier();
  return partials[0];
}
