// The product where one operand is largely zeros: a pruned weight, or activations after a ReLU. Its rows become lists of their non-zeros,
// and every non-zero adds a multiple of one row of a packed panel of the other operand to a row of sums, so that work falls with the
// zeros. Sums go over k in ascending order. Whether an operand is sparse enough is judged by a sample of it, never by chance.
//
// Scratch at the largest block, 512 × 1024 either way round: 2 MiB of sums, 512 KiB of panels, 1 MiB of lists and 4 KiB of their ends at the
// most, which is below SCRATCH_BYTES.

import { packAcross, packAlong } from "./gemm_pack";
import { scratch } from "./scratch";
import { is_wide } from "./wide";

// Steps of k whose panel stays in a 32 KiB first-level cache: 64 columns of 128 are 32 KiB.
const KC: u32 = 128;
// Columns of a panel: eight accumulators of 256 bits, or of 128.
const WIDE_COLS: u32 = 64;
const NARROW_COLS: u32 = 32;
// The sample: so many rows and as many elements of each, and the zeros among them that make the lists worth their while.
const SAMPLES: u32 = 16;
const ENOUGH_ZEROS: u32 = 96;

// Whether the operand, element (i, p) at source + i·across + p·along in elements, has at least three eighths of zeros.
export function looksSparse(source: usize, across: usize, along: usize, count: u32, k: u32): bool {
  if (count < SAMPLES || k <= KC) return false;
  let zeros: u32 = 0;
  for (let r: u32 = 0; r < SAMPLES; r++) {
    const row = source + (<usize>(r * count / SAMPLES) * across << 2);
    for (let s: u32 = 0; s < SAMPLES; s++) {
      // A step that shares no factor with the sample's, so that no regular pattern of zeros is met every time.
      const p = <u32>((<u64>(s * SAMPLES + r) * 0x9e3779b1 >> 8) % k);
      if (load<f32>(row + (<usize>p * along << 2)) == 0) zeros++;
    }
  }
  return zeros >= ENOUGH_ZEROS;
}

// Z(i, j) = Σ_p S(i, p)·D(p, j) with S sparse, (rows, k), element (i, p) at s + i·sAcross + p·sAlong in elements, and D dense, (k, cols),
// stored transposed where `dAcross`. Z comes in panels of W columns, (panel, rows, W), at the start of the scratch, whose address this
// gives. With `upper` only elements first + i ≤ j need be computed.
export function sparseProduct(
  s: usize, sAcross: usize, sAlong: usize, rows: u32,
  d: usize, ldd: u32, dAcross: bool, cols: u32,
  k: u32, upper: bool, first: i32,
): usize {
  const width = sparseCols(), panels = (cols + width - 1) / width;
  const sums = scratch(), panelBytes = <usize>rows * width << 2;
  const packed = sums + <usize>panels * panelBytes, lists = packed + (<usize>panels * width * KC << 2);
  const ends = lists + (<usize>rows * KC << 3);
  memory.fill(sums, 0, <usize>panels * panelBytes);
  for (let k0: u32 = 0; k0 < k; k0 += KC) {
    const depth = min(KC, k - k0);
    if (dAcross) packAcross(d + (<usize>k0 << 2), ldd, cols, depth, width, packed);
    else packAlong(d + (<usize>k0 * ldd << 2), ldd, cols, depth, width, packed);
    listNonZeros(s + (<usize>k0 * sAlong << 2), sAcross, sAlong, rows, depth, width, lists, ends);
    for (let panel: u32 = 0; panel < panels; panel++) {
      const b = packed + (<usize>panel * width * depth << 2);
      // Rows below the diagonal of a symmetric product come last.
      const last = upper ? <u32>max<i32>(0, min<i32>(<i32>rows, <i32>((panel + 1) * width) - first)) : rows;
      let z = sums + <usize>panel * panelBytes, list = lists;
      for (let i: u32 = 0; i < last; i++, z += <usize>width << 2, list += <usize>KC << 3) {
        const end = <usize>load<u32>(ends + (i << 2));
        if (is_wide()) addWide(list, end, b, z);
        else addNarrow(list, end, b, z);
      }
    }
  }
  return sums;
}

// Columns of a panel of the sums.
export function sparseCols(): u32 {
  return is_wide() ? WIDE_COLS : NARROW_COLS;
}

// A row's list: for each non-zero the byte offset of its row in a panel, and its value. `ends` says where each list ends.
function listNonZeros(s: usize, across: usize, along: usize, rows: u32, k: u32, width: u32, lists: usize, ends: usize): void {
  const step = width << 2;
  // Down the operand's own rows, whichever they are, so that reads stay close.
  for (let i0: u32 = 0; i0 < rows; i0 += 16) {
    const iEnd = min(rows, i0 + 16);
    for (let i = i0; i < iEnd; i++) store<u32>(ends + (i << 2), <u32>(lists + (<usize>i * KC << 3)));
    if (along == 1) {
      for (let i = i0; i < iEnd; i++) {
        let end = lists + (<usize>i * KC << 3);
        let from = s + (<usize>i * across << 2);
        for (let p: u32 = 0; p < k; p++, from += 4) end = append(end, p * step, load<f32>(from));
        store<u32>(ends + (i << 2), <u32>end);
      }
    } else {
      for (let p: u32 = 0; p < k; p++) {
        let from = s + ((<usize>p * along + <usize>i0 * across) << 2);
        for (let i = i0; i < iEnd; i++, from += across << 2) {
          const end = <usize>load<u32>(ends + (i << 2));
          store<u32>(ends + (i << 2), <u32>append(end, p * step, load<f32>(from)));
        }
      }
    }
  }
}

// Writes the entry always and keeps it if it is not 0: a branch would be guessed wrong half of the time.
// @ts-ignore: decorator
@inline function append(end: usize, offset: u32, value: f32): usize {
  store<u32>(end, offset);
  store<f32>(end, value, 4);
  return end + (<usize>(value != 0) << 3);
}

// z (64) += Σ value·panel row over the list.
function addWide(list: usize, end: usize, panel: usize, z: usize): void {
  let z0 = v128.load(z, 0);
  let z1 = v128.load(z, 16);
  let z2 = v128.load(z, 32);
  let z3 = v128.load(z, 48);
  let z4 = v128.load(z, 64);
  let z5 = v128.load(z, 80);
  let z6 = v128.load(z, 96);
  let z7 = v128.load(z, 112);
  let z8 = v128.load(z, 128);
  let z9 = v128.load(z, 144);
  let z10 = v128.load(z, 160);
  let z11 = v128.load(z, 176);
  let z12 = v128.load(z, 192);
  let z13 = v128.load(z, 208);
  let z14 = v128.load(z, 224);
  let z15 = v128.load(z, 240);
  for (; list < end; list += 8) {
    const b = panel + <usize>load<u32>(list), x = v128.load32_splat(list, 4);
    z0 = f32x4.relaxed_madd(x, v128.load(b, 0), z0);
    z1 = f32x4.relaxed_madd(x, v128.load(b, 16), z1);
    z2 = f32x4.relaxed_madd(x, v128.load(b, 32), z2);
    z3 = f32x4.relaxed_madd(x, v128.load(b, 48), z3);
    z4 = f32x4.relaxed_madd(x, v128.load(b, 64), z4);
    z5 = f32x4.relaxed_madd(x, v128.load(b, 80), z5);
    z6 = f32x4.relaxed_madd(x, v128.load(b, 96), z6);
    z7 = f32x4.relaxed_madd(x, v128.load(b, 112), z7);
    z8 = f32x4.relaxed_madd(x, v128.load(b, 128), z8);
    z9 = f32x4.relaxed_madd(x, v128.load(b, 144), z9);
    z10 = f32x4.relaxed_madd(x, v128.load(b, 160), z10);
    z11 = f32x4.relaxed_madd(x, v128.load(b, 176), z11);
    z12 = f32x4.relaxed_madd(x, v128.load(b, 192), z12);
    z13 = f32x4.relaxed_madd(x, v128.load(b, 208), z13);
    z14 = f32x4.relaxed_madd(x, v128.load(b, 224), z14);
    z15 = f32x4.relaxed_madd(x, v128.load(b, 240), z15);
  }
  v128.store(z, z0, 0);
  v128.store(z, z1, 16);
  v128.store(z, z2, 32);
  v128.store(z, z3, 48);
  v128.store(z, z4, 64);
  v128.store(z, z5, 80);
  v128.store(z, z6, 96);
  v128.store(z, z7, 112);
  v128.store(z, z8, 128);
  v128.store(z, z9, 144);
  v128.store(z, z10, 160);
  v128.store(z, z11, 176);
  v128.store(z, z12, 192);
  v128.store(z, z13, 208);
  v128.store(z, z14, 224);
  v128.store(z, z15, 240);
}

// z (32) += Σ value·panel row over the list.
function addNarrow(list: usize, end: usize, panel: usize, z: usize): void {
  let z0 = v128.load(z, 0);
  let z1 = v128.load(z, 16);
  let z2 = v128.load(z, 32);
  let z3 = v128.load(z, 48);
  let z4 = v128.load(z, 64);
  let z5 = v128.load(z, 80);
  let z6 = v128.load(z, 96);
  let z7 = v128.load(z, 112);
  for (; list < end; list += 8) {
    const b = panel + <usize>load<u32>(list), x = v128.load32_splat(list, 4);
    z0 = f32x4.relaxed_madd(x, v128.load(b, 0), z0);
    z1 = f32x4.relaxed_madd(x, v128.load(b, 16), z1);
    z2 = f32x4.relaxed_madd(x, v128.load(b, 32), z2);
    z3 = f32x4.relaxed_madd(x, v128.load(b, 48), z3);
    z4 = f32x4.relaxed_madd(x, v128.load(b, 64), z4);
    z5 = f32x4.relaxed_madd(x, v128.load(b, 80), z5);
    z6 = f32x4.relaxed_madd(x, v128.load(b, 96), z6);
    z7 = f32x4.relaxed_madd(x, v128.load(b, 112), z7);
  }
  v128.store(z, z0, 0);
  v128.store(z, z1, 16);
  v128.store(z, z2, 32);
  v128.store(z, z3, 48);
  v128.store(z, z4, 64);
  v128.store(z, z5, 80);
  v128.store(z, z6, 96);
  v128.store(z, z7, 112);
}
