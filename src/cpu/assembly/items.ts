// How a kernel falls into items: large enough that taking one is nothing beside running it (about 20 µs), small enough that two
// threads end together.

// @ts-ignore: decorator
@inline export function ceil_divide(count: u32, size: u32): u32 {
  return count / size + u32(count % size != 0);
}

// Whole rows of `cols` elements to an item of about `elements`; at least one.
// @ts-ignore: decorator
@inline export function rows_per_item(cols: u32, elements: u32): u32 {
  return max<u32>(1, elements / max<u32>(1, cols));
}

// Items of a kernel cut by `rows_per_item`. None where there are no columns.
// @ts-ignore: decorator
@inline export function row_items(rows: u32, cols: u32, elements: u32): i32 {
  return cols == 0 ? 0 : <i32>ceil_divide(rows, rows_per_item(cols, elements));
}
