// Returns the index of the element that an invocation handles, in kernels over a one-dimensional range.
// `linearGrid` in src/device/kernels/kernel.ts chooses the grid of these kernels. If the grid has too many
// workgroups for one axis, it is folded over x and y. Each workgroup covers `size` consecutive elements of
// the range, and `local` is the position of the element among them.
fn linear_index(workgroup: vec3u, grid: vec3u, local: u32, size: u32) -> u32 {
  return (workgroup.y * grid.x + workgroup.x) * size + local;
}
