// The product C = S·D where S is largely zeros: a pruned weight, or activations after a ReLU. Each row of S becomes a
// list of its non-zeros. D is packed into panels. Each non-zero adds a multiple of one row of a panel to a row of sums,
// so the work shrinks with the number of zeros. The terms of a sum are added in ascending order of k, the inner
// dimension. `looks_sparse` decides by a fixed sample of elements, so the same operands always take the same path.
//
// The scratch holds the sums, the packed panels of D, the lists, and the end of each list. For the largest block of C,
// 512 × 1024 or 1024 × 512, these need at most 2 MiB, 512 KiB, 1 MiB and 4 KiB, which is less than scratch_bytes().

import { pack_panels, pack_panels_transposed } from "./gemm_pack";
import { is_paired, scratch } from "./instance";
import { uses_library } from "./library";

// The steps of k that are packed at a time. A panel of 64 columns and 128 steps fills a 32 KiB first-level cache.
const KC: u32 = 128;
// The number of columns of a panel, which fill eight accumulators (registers). An accumulator has 256 bits if the
// engine pairs instructions, and otherwise 128.
const PAIRED_COLS: u32 = 64;
const UNPAIRED_COLS: u32 = 32;
// The sample is SAMPLES elements from each of SAMPLES rows. The lists are worthwhile if ENOUGH_ZEROS of these elements
// are zero. A library can be twice as fast as the micro-kernels, so beside a library the lists must skip more zeros.
const SAMPLES: u32 = 16;
const ENOUGH_ZEROS: u32 = 96;
const ENOUGH_ZEROS_FOR_LIBRARY: u32 = 208;

// Whether so many elements of a sample of the operand are zeros that the lists are faster. Element (i, p) of the
// operand is at source + i·rowStep + p·kStep, in elements, for i < count and p < k. Returns false for a small operand.
export function looks_sparse(source: usize, rowStep: usize, kStep: usize, count: u32, k: u32): bool {
  if (count < SAMPLES || k <= KC) return false;
  let zeros: u32 = 0;
  for (let r: u32 = 0; r < SAMPLES; r++) {
    const row = source + (<usize>(r * count / SAMPLES) * rowStep << 2);
    for (let s: u32 = 0; s < SAMPLES; s++) {
      // The large odd factor spreads the sample over k, so that it does not fall into step with a pattern of zeros.
      const p = <u32>((<u64>(s * SAMPLES + r) * 0x9e3779b1 >> 8) % k);
      if (load<f32>(row + (<usize>p * kStep << 2)) == 0) zeros++;
    }
  }
  return zeros >= (uses_library() ? ENOUGH_ZEROS_FOR_LIBRARY : ENOUGH_ZEROS);
}

// Computes Z(i, j) = Σ_p S(i, p)·D(p, j). S is (rows, k) and sparse, and its element (i, p) is at s + i·sRowStep +
// p·sKStep, in elements. D is (k, cols) and dense, or stored as (cols, k) if `dTransposed` is set, and its leading
// dimension is ldd. Returns the address of Z, which is at the start of the scratch and laid out as (panels, rows, panel
// columns). With `upper`, only the elements with first + i ≤ j need be computed.
export function sparse_product(
  s: usize, sRowStep: usize, sKStep: usize, rows: u32,
  d: usize, ldd: u32, dTransposed: bool, cols: u32,
  k: u32, upper: bool, first: i32,
): usize {
  const width = sums_panel_cols(), panels = (cols + width - 1) / width;
  const sums = scratch(), panelBytes = <usize>rows * width << 2;
  const packed = sums + <usize>panels * panelBytes, lists = packed + (<usize>panels * width * KC << 2);
  const ends = lists + (<usize>rows * KC << 3);
  memory.fill(sums, 0, <usize>panels * panelBytes);
  for (let k0: u32 = 0; k0 < k; k0 += KC) {
    const depth = min(KC, k - k0);
    if (dTransposed) pack_panels_transposed(d + (<usize>k0 << 2), ldd, cols, depth, width, packed);
    else pack_panels(d + (<usize>k0 * ldd << 2), ldd, cols, depth, width, packed);
    list_non_zeros(s + (<usize>k0 * sKStep << 2), sRowStep, sKStep, rows, depth, width, lists, ends);
    for (let panel: u32 = 0; panel < panels; panel++) {
      const b = packed + (<usize>panel * width * depth << 2);
      // With `upper`, the rows from `endRow` on lie below the diagonal in every column of the panel.
      const endRow = upper ? <u32>max<i32>(0, min<i32>(<i32>rows, <i32>((panel + 1) * width) - first)) : rows;
      let z = sums + <usize>panel * panelBytes, list = lists;
      for (let i: u32 = 0; i < endRow; i++, z += <usize>width << 2, list += <usize>KC << 3) {
        const end = <usize>load<u32>(ends + (i << 2));
        if (is_paired()) add_64_columns(list, end, b, z);
        else add_32_columns(list, end, b, z);
      }
    }
  }
  return sums;
}

// The columns of a panel of Z.
export function sums_panel_cols(): u32 {
  return is_paired() ? PAIRED_COLS : UNPAIRED_COLS;
}

// Writes one list per row of S. An entry has two words. The first is the byte offset, within a panel of D, of the row
// that the non-zero multiplies. The second is the non-zero. `ends` receives the end address of each list.
function list_non_zeros(s: usize, rowStep: usize, kStep: usize, rows: u32, k: u32, width: u32, lists: usize, ends: usize): void {
  const panelRowBytes = width << 2;
  // Both branches read along stored rows. If S is stored transposed, a cache line has elements of sixteen rows of S.
  for (let i0: u32 = 0; i0 < rows; i0 += 16) {
    const iEnd = min(rows, i0 + 16);
    for (let i = i0; i < iEnd; i++) store<u32>(ends + (i << 2), <u32>(lists + (<usize>i * KC << 3)));
    if (kStep == 1) {
      for (let i = i0; i < iEnd; i++) {
        let end = lists + (<usize>i * KC << 3);
        let from = s + (<usize>i * rowStep << 2);
        for (let p: u32 = 0; p < k; p++, from += 4) end = append_non_zero(end, p * panelRowBytes, load<f32>(from));
        store<u32>(ends + (i << 2), <u32>end);
      }
    } else {
      for (let p: u32 = 0; p < k; p++) {
        let from = s + ((<usize>p * kStep + <usize>i0 * rowStep) << 2);
        for (let i = i0; i < iEnd; i++, from += rowStep << 2) {
          const end = <usize>load<u32>(ends + (i << 2));
          store<u32>(ends + (i << 2), <u32>append_non_zero(end, p * panelRowBytes, load<f32>(from)));
        }
      }
    }
  }
}

// Writes the entry in any case, and moves the end past it only if the value is not 0. A branch instead would be
// mispredicted half of the time. Returns the new end.
@inline function append_non_zero(end: usize, offset: u32, value: f32): usize {
  store<u32>(end, offset);
  store<f32>(end, value, 4);
  return end + (<usize>(value != 0) << 3);
}

// Adds Σ value·(row of the panel), over the entries of the list, to the 64 elements at z, or with `wide` = false to the 32
// elements. `wide` is a constant wherever the function is inlined.
@inline function add_columns(wide: bool, list: usize, end: usize, panel: usize, z: usize): void {
  let z0 = v128.load(z), z1 = z0, z2 = z0, z3 = z0, z4 = z0, z5 = z0, z6 = z0, z7 = z0, z8 = z0, z9 = z0, z10 = z0, z11 = z0, z12 = z0, z13 = z0, z14 = z0, z15 = z0;
  z1 = v128.load(z, 16), z2 = v128.load(z, 32), z3 = v128.load(z, 48);
  z4 = v128.load(z, 64), z5 = v128.load(z, 80), z6 = v128.load(z, 96), z7 = v128.load(z, 112);
  if (wide) {
    z8 = v128.load(z, 128), z9 = v128.load(z, 144), z10 = v128.load(z, 160), z11 = v128.load(z, 176);
    z12 = v128.load(z, 192), z13 = v128.load(z, 208), z14 = v128.load(z, 224), z15 = v128.load(z, 240);
  }
  for (; list < end; list += 8) {
    const b = panel + <usize>load<u32>(list), x = v128.load32_splat(list, 4);
    z0 = f32x4.relaxed_madd(x, v128.load(b, 0), z0), z1 = f32x4.relaxed_madd(x, v128.load(b, 16), z1), z2 = f32x4.relaxed_madd(x, v128.load(b, 32), z2), z3 = f32x4.relaxed_madd(x, v128.load(b, 48), z3);
    z4 = f32x4.relaxed_madd(x, v128.load(b, 64), z4), z5 = f32x4.relaxed_madd(x, v128.load(b, 80), z5), z6 = f32x4.relaxed_madd(x, v128.load(b, 96), z6), z7 = f32x4.relaxed_madd(x, v128.load(b, 112), z7);
    if (wide) {
      z8 = f32x4.relaxed_madd(x, v128.load(b, 128), z8), z9 = f32x4.relaxed_madd(x, v128.load(b, 144), z9), z10 = f32x4.relaxed_madd(x, v128.load(b, 160), z10), z11 = f32x4.relaxed_madd(x, v128.load(b, 176), z11);
      z12 = f32x4.relaxed_madd(x, v128.load(b, 192), z12), z13 = f32x4.relaxed_madd(x, v128.load(b, 208), z13), z14 = f32x4.relaxed_madd(x, v128.load(b, 224), z14), z15 = f32x4.relaxed_madd(x, v128.load(b, 240), z15);
    }
  }
  v128.store(z, z0, 0), v128.store(z, z1, 16), v128.store(z, z2, 32), v128.store(z, z3, 48);
  v128.store(z, z4, 64), v128.store(z, z5, 80), v128.store(z, z6, 96), v128.store(z, z7, 112);
  if (wide) {
    v128.store(z, z8, 128), v128.store(z, z9, 144), v128.store(z, z10, 160), v128.store(z, z11, 176);
    v128.store(z, z12, 192), v128.store(z, z13, 208), v128.store(z, z14, 224), v128.store(z, z15, 240);
  }
}

function add_64_columns(list: usize, end: usize, panel: usize, z: usize): void {
  add_columns(true, list, end, panel, z);
}

function add_32_columns(list: usize, end: usize, panel: usize, z: usize): void {
  add_columns(false, list, end, panel, z);
}
