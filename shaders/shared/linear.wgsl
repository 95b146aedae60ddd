// The index of an invocation in a one-dimensional problem whose grid `linearGrid` may have folded over y.
fn linear_index(workgroup: vec3u, grid: vec3u, local: u32, size: u32) -> u32 {
  return (workgroup.y * grid.x + workgroup.x) * size + local;
}
