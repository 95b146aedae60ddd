// The CPU twin of shaders/column_squares.wgsl. It computes the sum of the squares of each column. A work item is 16
// columns. Their 16 sums fit into four SIMD vectors. The rows are summed in groups of 64, and then the sums of the
// groups are added. Therefore the rounding error of a long column stays small.

import { ColumnSquaresArgs } from "./args";
import { ceil_divide } from "./shared/items";

const COLUMNS: u32 = 16;
const ROWS_PER_GROUP: u32 = 64;

export function column_squares_items(args: ColumnSquaresArgs): u32 {
  return ceil_divide(args.cols, COLUMNS);
}

export function column_squares(args: ColumnSquaresArgs, item: u32): void {
  const first = item * COLUMNS, count = min<u32>(COLUMNS, args.cols - first);
  const stride = <usize>args.ldx << 2, rows = args.rows;
  const sums = args.sums + (<usize>first << 2);
  let x = args.x + (<usize>(args.x_offset + first) << 2);
  if (count < COLUMNS) {
    for (let c: u32 = 0; c < count; c++) {
      const at = <usize>c << 2;
      store<f32>(sums + at, load<f32>(sums + at) + column(x + at, stride, rows));
    }
    return;
  }
  let total0 = v128.load(sums), total1 = v128.load(sums, 16);
  let total2 = v128.load(sums, 32), total3 = v128.load(sums, 48);
  for (let row: u32 = 0; row < rows; row += ROWS_PER_GROUP) {
    let sum0 = f32x4.splat(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    const end = min<u32>(rows, row + ROWS_PER_GROUP);
    for (let r = row; r < end; r++) {
      const x0 = v128.load(x), x1 = v128.load(x, 16), x2 = v128.load(x, 32), x3 = v128.load(x, 48);
      sum0 = f32x4.relaxed_madd(x0, x0, sum0);
      sum1 = f32x4.relaxed_madd(x1, x1, sum1);
      sum2 = f32x4.relaxed_madd(x2, x2, sum2);
      sum3 = f32x4.relaxed_madd(x3, x3, sum3);
      x += stride;
    }
    total0 = f32x4.add(total0, sum0);
    total1 = f32x4.add(total1, sum1);
    total2 = f32x4.add(total2, sum2);
    total3 = f32x4.add(total3, sum3);
  }
  v128.store(sums, total0);
  v128.store(sums, total1, 16);
  v128.store(sums, total2, 32);
  v128.store(sums, total3, 48);
}

// Returns the sum of the squares of one column, with the same groups of rows as above.
function column(x: usize, stride: usize, rows: u32): f32 {
  let total: f32 = 0;
  for (let row: u32 = 0; row < rows; row += ROWS_PER_GROUP) {
    let sum: f32 = 0;
    const end = min<u32>(rows, row + ROWS_PER_GROUP);
    for (let r = row; r < end; r++) {
      const value = load<f32>(x);
      sum += value * value;
      x += stride;
    }
    total += sum;
  }
  return total;
}
