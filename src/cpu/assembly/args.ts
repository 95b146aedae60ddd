// A kernel's argument block: u32 words, first a pointer for each binding, then the parameters, both in declaration order.

@inline export function pointer(args: usize, i: usize): usize {
  return <usize>load<u32>(args + (i << 2));
}

@inline export function u32At(args: usize, i: usize): u32 {
  return load<u32>(args + (i << 2));
}

@inline export function f32At(args: usize, i: usize): f32 {
  return load<f32>(args + (i << 2));
}
