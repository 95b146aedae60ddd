// The largest value of the invocations of a workgroup. The code of workgroup_sum.wgsl comes before this file.

// A stand-in for −∞, because WGSL does not guarantee that infinity behaves as in IEEE 754.
const LOWEST: f32 = -3.4e38;

// Returns the largest `value` of the invocations of the workgroup, component by component.
fn workgroup_max(local: u32, value: vec2f) -> vec2f {
  workgroupBarrier(); // now every invocation has read the result of the previous call
  partials[local] = value;
  for (var half = SIZE / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if local < half {
      partials[local] = max(partials[local], partials[local + half]);
    }
  }
  workgroupBarrier();
  return partials[0];
}
