// Integer division and rounding, both upwards, and the split of a kernel's rows into work items.

@inline export function ceil_divide(count: u32, size: u32): u32 {
  return count / size + u32(count % size != 0);
}

// The smallest multiple of `multiple` that is at least x. `multiple` must be a power of two.
@inline export function round_up(x: u32, multiple: u32): u32 {
  return (x + multiple - 1) & ~(multiple - 1);
}

// A work item of whole rows should take about 20 µs. Taking it then costs next to nothing in comparison, and all
// threads finish at about the same time.

// The number of rows in an item of about `elements` elements, if a row has `cols` elements. It is at least 1.
@inline export function rows_per_item(cols: u32, elements: u32): u32 {
  return max<u32>(1, elements / max<u32>(1, cols));
}

// The number of items for `rows` rows. It is 0 if the matrix has no columns.
@inline export function row_items(rows: u32, cols: u32, elements: u32): u32 {
  return cols == 0 ? 0 : ceil_divide(rows, rows_per_item(cols, elements));
}
