// The variant of product_nn, product_nt and product_tn for GPUs with matrix units (tensor cores). Only adapters with
// the feature chromium-experimental-subgroup-matrix of Dawn can run it.
//
// Matrix units multiply units of 16 × 16 elements in f16, and add the products up in f32. An f32 number has more digits
// than an f16 number, so each element x is split into two f16 numbers: x·s = high + low, where s is a power of two. The
// product of two elements is then high·high + high·low + low·high. The term low·low is left out, because it is below
// the rounding errors of f32. Each row of op(A) and each column of op(B) has its own s, with which its largest element
// is from 128 to 256. So no element overflows, and elements that are tiny beside the largest lose digits that do not
// matter for the sums.
//
// A matrix unit may round its sums less carefully than f32 arithmetic does. So the matrix units add up at most CHAIN
// steps of k. The sum of such a chain is then added to C in f32.
//
// A workgroup has four subgroups of 32 invocations. It computes a patch of 128 × 128 elements of C, and each subgroup
// computes a quarter of the patch.

enable f16;
enable chromium_experimental_subgroup_matrix;

// The operations on matrix units need control flow and addresses that are the same for all invocations of a subgroup.
// The code below meets this rule, but the compiler can only prove it for values that are the same for a whole
// workgroup.
diagnostic(off, chromium.subgroup_matrix_uniformity);

struct Params {
  m: u32, n: u32, k: u32,
  a_offset: u32, lda: u32,
  b_offset: u32, ldb: u32,
  c_offset: u32, ldc: u32,
  alpha: f32, beta: f32,
  upper: u32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

// The edge of a workgroup's patch, which is also the number of invocations, and the edge of a subgroup's quarter.
const PATCH = 128u;
const QUARTER = 64u;
// The edge of a unit, and the steps of k that are staged in workgroup memory at a time.
const UNIT = 16u;
// The most steps of k that the matrix units add up.
const CHAIN = 2048u;
// The distance between two rows of op(A), or two columns of op(B), in workgroup memory. It is longer than a row, so
// that the rows of a unit lie in different memory banks.
const STRIDE = 24u;

var<workgroup> a_high: array<f16, PATCH * STRIDE>;
var<workgroup> a_low: array<f16, PATCH * STRIDE>;
var<workgroup> b_high: array<f16, PATCH * STRIDE>;
var<workgroup> b_low: array<f16, PATCH * STRIDE>;
// 1/s of each row of op(A) and of each column of op(B), for the current chain.
var<workgroup> a_unscale: array<f32, PATCH>;
var<workgroup> b_unscale: array<f32, PATCH>;
// One unit of sums for each subgroup.
var<workgroup> sums: array<f32, 4 * UNIT * UNIT>;

fn a_at(i: u32, p: u32, transposed: bool) -> f32 {
  if i >= params.m || p >= params.k { return 0.0; }
  return a[params.a_offset + select(i * params.lda + p, p * params.lda + i, transposed)];
}

fn b_at(p: u32, j: u32, transposed: bool) -> f32 {
  if j >= params.n || p >= params.k { return 0.0; }
  return b[params.b_offset + select(p * params.ldb + j, j * params.ldb + p, transposed)];
}

// The biased exponent of `largest`, clamped so that s and 1/s are normal numbers.
fn exponent_of(largest: f32) -> u32 {
  return clamp(bitcast<u32>(largest) >> 23u, 8u, 254u);
}

// The factor s for this biased exponent. Multiplied by s, a number with the exponent is from 128 to 256. The bias is
// 127.
fn scale_of(exponent: u32) -> f32 {
  return bitcast<f32>((261u - exponent) << 23u);
}

// 1/s for this biased exponent.
fn unscale_of(exponent: u32) -> f32 {
  return bitcast<f32>((exponent - 7u) << 23u);
}

// Rounds `x` to the 11 binary digits of an f16 number. The result is not computed as f32(f16(x)), because a compiler
// may replace that by x.
fn leading_digits(x: f32) -> f32 {
  return bitcast<f32>((bitcast<u32>(x) + 0x1000u) & 0xffffe000u);
}

// Adds the product of a unit of op(A) and a unit of op(B) to `sum`, the smallest terms first.
fn multiply(left_high: Left, left_low: Left, right_high: Right, right_low: Right, sum: Sum) -> Sum {
  let small = subgroupMatrixMultiplyAccumulate(left_high, right_low, sum);
  let middle = subgroupMatrixMultiplyAccumulate(left_low, right_high, small);
  return subgroupMatrixMultiplyAccumulate(left_high, right_high, middle);
}

// Adds a unit of sums to C. The first element of the patch is C[i0, j0], and the unit begins at (row, col) of the
// patch. If `is_first` is true, the unit belongs to the first chain, and the old C is multiplied by β.
fn add_unit(sum: Sum, i0: u32, j0: u32, row: u32, col: u32, local: u32, is_first: bool) {
  let mine = local / 32u * UNIT * UNIT;
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&sums, mine, sum, UNIT);
  workgroupBarrier();
  for (var e = local % 32u; e < UNIT * UNIT; e += 32u) {
    let r = row + e / UNIT;
    let q = col + e % UNIT;
    if i0 + r < params.m && j0 + q < params.n {
      let at = params.c_offset + (i0 + r) * params.ldc + j0 + q;
      // The smaller factor comes first, so that no intermediate result overflows.
      let smaller = min(a_unscale[r], b_unscale[q]);
      let larger = max(a_unscale[r], b_unscale[q]);
      var value = params.alpha * (sums[mine + e] * smaller * larger);
      // C is not read if β = 0, because it may then contain anything, even NaN.
      if !is_first { value += c[at]; } else if params.beta != 0.0 { value += params.beta * c[at]; }
      c[at] = value;
    }
  }
}

fn product(workgroup: vec3u, local: u32, a_transposed: bool, b_transposed: bool) {
  let i0 = workgroup.y * PATCH;
  let j0 = workgroup.x * PATCH;
  // With upper = 1 + d, only the elements with i ≤ j + d are needed. This patch may have none of them.
  if params.upper != 0u && i0 >= j0 + PATCH + params.upper - 1u { return; }

  let row = local / 64u * QUARTER;
  let col = local / 32u % 2u * QUARTER;
  var start = 0u;
  // The loop runs at least once, because C must be multiplied by β even if k = 0.
  loop {
    let end = min(start + CHAIN, params.k);
    // Each invocation scales and stages one row of op(A) and one column of op(B).
    var a_largest = 0.0;
    var b_largest = 0.0;
    for (var p = start; p < end; p++) {
      a_largest = max(a_largest, abs(a_at(i0 + local, p, a_transposed)));
      b_largest = max(b_largest, abs(b_at(p, j0 + local, b_transposed)));
    }
    let a_exponent = exponent_of(a_largest);
    let b_exponent = exponent_of(b_largest);
    let a_scale = scale_of(a_exponent);
    let b_scale = scale_of(b_exponent);
    workgroupBarrier();
    a_unscale[local] = unscale_of(a_exponent);
    b_unscale[local] = unscale_of(b_exponent);

    var sum00 = Sum();
    var sum01 = Sum();
    var sum02 = Sum();
    var sum03 = Sum();
    var sum10 = Sum();
    var sum11 = Sum();
    var sum12 = Sum();
    var sum13 = Sum();
    var sum20 = Sum();
    var sum21 = Sum();
    var sum22 = Sum();
    var sum23 = Sum();
    var sum30 = Sum();
    var sum31 = Sum();
    var sum32 = Sum();
    var sum33 = Sum();
    for (var p0 = start; p0 < end; p0 += UNIT) {
      for (var p = 0u; p < UNIT; p++) {
        let x = a_at(i0 + local, p0 + p, a_transposed) * a_scale;
        let y = b_at(p0 + p, j0 + local, b_transposed) * b_scale;
        let x_high = leading_digits(x);
        let y_high = leading_digits(y);
        a_high[local * STRIDE + p] = f16(x_high);
        a_low[local * STRIDE + p] = f16(x - x_high);
        b_high[local * STRIDE + p] = f16(y_high);
        b_low[local * STRIDE + p] = f16(y - y_high);
      }
      workgroupBarrier();
      let high0 = subgroupMatrixLoad<Right, col_major>(&b_high, col * STRIDE, STRIDE);
      let low0 = subgroupMatrixLoad<Right, col_major>(&b_low, col * STRIDE, STRIDE);
      let high1 = subgroupMatrixLoad<Right, col_major>(&b_high, (col + 16u) * STRIDE, STRIDE);
      let low1 = subgroupMatrixLoad<Right, col_major>(&b_low, (col + 16u) * STRIDE, STRIDE);
      let high2 = subgroupMatrixLoad<Right, col_major>(&b_high, (col + 32u) * STRIDE, STRIDE);
      let low2 = subgroupMatrixLoad<Right, col_major>(&b_low, (col + 32u) * STRIDE, STRIDE);
      let high3 = subgroupMatrixLoad<Right, col_major>(&b_high, (col + 48u) * STRIDE, STRIDE);
      let low3 = subgroupMatrixLoad<Right, col_major>(&b_low, (col + 48u) * STRIDE, STRIDE);
      let left_high0 = subgroupMatrixLoad<Left, row_major>(&a_high, row * STRIDE, STRIDE);
      let left_low0 = subgroupMatrixLoad<Left, row_major>(&a_low, row * STRIDE, STRIDE);
      sum00 = multiply(left_high0, left_low0, high0, low0, sum00);
      sum01 = multiply(left_high0, left_low0, high1, low1, sum01);
      sum02 = multiply(left_high0, left_low0, high2, low2, sum02);
      sum03 = multiply(left_high0, left_low0, high3, low3, sum03);
      let left_high1 = subgroupMatrixLoad<Left, row_major>(&a_high, (row + 16u) * STRIDE, STRIDE);
      let left_low1 = subgroupMatrixLoad<Left, row_major>(&a_low, (row + 16u) * STRIDE, STRIDE);
      sum10 = multiply(left_high1, left_low1, high0, low0, sum10);
      sum11 = multiply(left_high1, left_low1, high1, low1, sum11);
      sum12 = multiply(left_high1, left_low1, high2, low2, sum12);
      sum13 = multiply(left_high1, left_low1, high3, low3, sum13);
      let left_high2 = subgroupMatrixLoad<Left, row_major>(&a_high, (row + 32u) * STRIDE, STRIDE);
      let left_low2 = subgroupMatrixLoad<Left, row_major>(&a_low, (row + 32u) * STRIDE, STRIDE);
      sum20 = multiply(left_high2, left_low2, high0, low0, sum20);
      sum21 = multiply(left_high2, left_low2, high1, low1, sum21);
      sum22 = multiply(left_high2, left_low2, high2, low2, sum22);
      sum23 = multiply(left_high2, left_low2, high3, low3, sum23);
      let left_high3 = subgroupMatrixLoad<Left, row_major>(&a_high, (row + 48u) * STRIDE, STRIDE);
      let left_low3 = subgroupMatrixLoad<Left, row_major>(&a_low, (row + 48u) * STRIDE, STRIDE);
      sum30 = multiply(left_high3, left_low3, high0, low0, sum30);
      sum31 = multiply(left_high3, left_low3, high1, low1, sum31);
      sum32 = multiply(left_high3, left_low3, high2, low2, sum32);
      sum33 = multiply(left_high3, left_low3, high3, low3, sum33);
      workgroupBarrier();
    }
    add_unit(sum00, i0, j0, row, col, local, start == 0u);
    add_unit(sum01, i0, j0, row, col + 16u, local, start == 0u);
    add_unit(sum02, i0, j0, row, col + 32u, local, start == 0u);
    add_unit(sum03, i0, j0, row, col + 48u, local, start == 0u);
    add_unit(sum10, i0, j0, row + 16u, col, local, start == 0u);
    add_unit(sum11, i0, j0, row + 16u, col + 16u, local, start == 0u);
    add_unit(sum12, i0, j0, row + 16u, col + 32u, local, start == 0u);
    add_unit(sum13, i0, j0, row + 16u, col + 48u, local, start == 0u);
    add_unit(sum20, i0, j0, row + 32u, col, local, start == 0u);
    add_unit(sum21, i0, j0, row + 32u, col + 16u, local, start == 0u);
    add_unit(sum22, i0, j0, row + 32u, col + 32u, local, start == 0u);
    add_unit(sum23, i0, j0, row + 32u, col + 48u, local, start == 0u);
    add_unit(sum30, i0, j0, row + 48u, col, local, start == 0u);
    add_unit(sum31, i0, j0, row + 48u, col + 16u, local, start == 0u);
    add_unit(sum32, i0, j0, row + 48u, col + 32u, local, start == 0u);
    add_unit(sum33, i0, j0, row + 48u, col + 48u, local, start == 0u);
    start += CHAIN;
    if start >= params.k { break; }
  }
}

@compute @workgroup_size(PATCH)
fn product_nn(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  product(workgroup, local, false, false);
}

@compute @workgroup_size(PATCH)
fn product_nt(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  product(workgroup, local, false, true);
}

@compute @workgroup_size(PATCH)
fn product_tn(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  product(workgroup, local, true, false);
}
