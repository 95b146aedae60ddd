// Packs operands of the product into the order in which the micro-kernel reads them: panels of `width` rows (of A) or columns (of B), in a
// panel one step of k after the other, `width` values each. A panel at the edge is filled up with zeros.

// @ts-ignore: decorator
@inline function at(base: usize, row: u32, col: u32, ld: u32): usize {
  return base + ((<usize>row * ld + col) << 2);
}

// The operand's rows run along k: every step of k is `width` consecutive elements of one stored row. `count` across, `k` deep.
export function packAlong(source: usize, ld: u32, count: u32, k: u32, width: u32, target: usize): void {
  for (let first: u32 = 0; first < count; first += width) {
    const cols = min(width, count - first), panel = at(source, 0, first, ld);
    if (cols < width) packRagged(panel, 1, ld, cols, k, width, target);
    else if (width >= 32) copyRows(panel, ld, k, width, target);
    else if (width == 16) copySixteens(panel, ld, k, target);
    else if (width == 8) copyEights(panel, ld, k, target);
    else copyFours(panel, ld, k, target);
    target += <usize>k * width << 2;
  }
}

// The operand's rows run across k: a panel is `width` stored rows, transposed.
export function packAcross(source: usize, ld: u32, count: u32, k: u32, width: u32, target: usize): void {
  const whole = k & ~3;
  for (let first: u32 = 0; first < count; first += width) {
    const rows = min(width, count - first);
    const quads = rows == width ? whole : 0;
    if (quads != 0) {
      for (let r: u32 = 0; r < width; r += 4) transposeFours(at(source, first + r, 0, ld), ld, quads, width, target + (r << 2));
    }
    packRagged(at(source, first, quads, ld), ld, 1, rows, k - quads, width, target + (<usize>quads * width << 2));
    target += <usize>k * width << 2;
  }
}

function copyRows(source: usize, ld: u32, k: u32, width: u32, target: usize): void {
  const bytes = <usize>width << 2;
  for (; k != 0; k--, source += <usize>ld << 2, target += bytes) memory.copy(target, source, bytes);
}

function copySixteens(source: usize, ld: u32, k: u32, target: usize): void {
  const stride = <usize>ld << 2;
  for (; k != 0; k--, source += stride, target += 64) {
    v128.store(target, v128.load(source));
    v128.store(target, v128.load(source, 16), 16);
    v128.store(target, v128.load(source, 32), 32);
    v128.store(target, v128.load(source, 48), 48);
  }
}

function copyEights(source: usize, ld: u32, k: u32, target: usize): void {
  const stride = <usize>ld << 2;
  for (; k != 0; k--, source += stride, target += 32) {
    v128.store(target, v128.load(source));
    v128.store(target, v128.load(source, 16), 16);
  }
}

function copyFours(source: usize, ld: u32, k: u32, target: usize): void {
  const stride = <usize>ld << 2;
  for (; k != 0; k--, source += stride, target += 16) v128.store(target, v128.load(source));
}

// Element (i, p) is at source + i·across + p·along, in elements.
function packRagged(source: usize, across: u32, along: u32, count: u32, k: u32, width: u32, target: usize): void {
  for (let p: u32 = 0; p < k; p++, target += <usize>width << 2) {
    for (let i: u32 = 0; i < count; i++) store<f32>(target + (i << 2), load<f32>(source + ((<usize>i * across + <usize>p * along) << 2)));
    for (let i = count; i < width; i++) store<f32>(target + (i << 2), 0);
  }
}

// Four stored rows into four neighbouring columns of a panel, four steps of k at a time.
function transposeFours(source: usize, ld: u32, k: u32, width: u32, target: usize): void {
  const stride = <usize>ld << 2, step = <usize>width << 2;
  for (; k != 0; k -= 4, source += 16, target += step << 2) {
    const r0 = v128.load(source), r1 = v128.load(source + stride);
    const r2 = v128.load(source + 2 * stride), r3 = v128.load(source + 3 * stride);
    const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), t1 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
    const t2 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7), t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    v128.store(target, v128.shuffle<u64>(t0, t1, 0, 2));
    v128.store(target + step, v128.shuffle<u64>(t0, t1, 1, 3));
    v128.store(target + 2 * step, v128.shuffle<u64>(t2, t3, 0, 2));
    v128.store(target + 3 * step, v128.shuffle<u64>(t2, t3, 1, 3));
  }
}
