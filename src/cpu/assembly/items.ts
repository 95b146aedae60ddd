// Splits a kernel that works row by row into items of whole rows. An item should be so large that taking it costs next to nothing
// compared with running it (about 20 µs), and so small that all threads finish at about the same time.

import { ceil_divide } from "./rounding";

// The rows of `cols` elements in an item of about `elements` elements; at least one row.
// @ts-ignore: decorator
@inline export function rows_per_item(cols: u32, elements: u32): u32 {
  return max<u32>(1, elements / max<u32>(1, cols));
}

// The number of items of `rows_per_item` rows. Zero if the matrix has no columns.
// @ts-ignore: decorator
@inline export function row_items(rows: u32, cols: u32, elements: u32): u32 {
  return cols == 0 ? 0 : ceil_divide(rows, rows_per_item(cols, elements));
}
