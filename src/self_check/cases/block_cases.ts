/** The cases of the kernels that prune and round blocks of columns, and of the kernel that removes single weights. */

import { pruneBlock, pruneBlockNM } from "../../kernels/prune_block.ts";
import { encodeCodes, fitGrids, rowExtremes } from "../../kernels/quantization.ts";
import { quantizeBlock } from "../../kernels/quantize_block.ts";
import { removeWeights, WeightState } from "../../kernels/remove_weights.ts";
import { defineCase, type KernelCase, sumRoundings } from "../kernel_case.ts";
import { below, filled, positive, signed, UNTOUCHED, words } from "../values.ts";

/** The rows of a block. They need three workgroups, and the last workgroup is not full. */
const ROWS = 19, ROW0 = 2;

/** The place of a block in its buffers. The rows of an aligned U start at multiples of 16 bytes. */
function place(size: number, isAligned: boolean) {
  const first = isAligned ? 0 : 37;
  return {
    rows: ROWS,
    size,
    row0: ROW0,
    ldwork: size + 2,
    u_offset: isAligned ? 8 : 9,
    ldu: Math.ceil(size / 4) * 4 + (isAligned ? 4 : 5),
    w_offset: 6,
    ldw: size + 9,
    first,
    words: Math.ceil((first + size) / 32) + 1,
  };
}

/** Returns the buffers of a block with well-conditioned U. `shift` is added to the weights. */
function blockBuffers(
  { size, ldwork, u_offset, ldu, ldw, words: rowWords }: ReturnType<typeof place>,
  shift = 0,
) {
  const u = filled(u_offset + size * ldu), noise = signed(size * size, 300 + size);
  for (let i = 0; i < size; i++) {
    for (let j = i; j < size; j++) {
      u[u_offset + i * ldu + j] = i === j ? 1 + noise[i * size + j] / 2 : noise[i * size + j] / 16;
    }
  }
  return {
    work: signed((ROW0 + ROWS) * ldwork, 301 + size).map((value) => 0.75 * value + shift),
    u,
    w: signed(6 + ROWS * ldw, 302 + size),
    q: filled(6 + ROWS * ldw),
    mask: words((ROW0 + ROWS) * rowWords, 303 + size),
    sums: positive(2 * (ROW0 + ROWS), 304 + size),
  };
}

/** The roundings of the loop: the errors of all columns before a column are subtracted from it, and depend on each other. */
const blockRoundings = (size: number) => {
  const roundings = 4 * sumRoundings(size);
  return { w: roundings, q: roundings, sums: roundings };
};

/** Keys with four values, so that most rows have ties, and a selection that prunes some of the ties of each row. */
function tiedKeys(size: number) {
  const keys = below(4, (ROW0 + ROWS) * size, 305).map((value) => [0, 5, 0x80000000, 0xffffffff][value]);
  const selection = below(size / 3, 2 + ROW0 + ROWS, 306).map((value, i) => i === 0 ? 0x80000000 : value);
  return { keys, selection };
}

const rounding = (bits: number, symmetric: number, grid_size: number, keep: number, group: number) => ({
  keep,
  group,
  grid_size,
  max_code: 2 ** bits - 1,
  symmetric,
});

/** The cases of `quantize_block`: the block, the rounding, and what is added to the weights. */
const ROUNDED: readonly (ReturnType<typeof rounding> & {
  readonly size: number;
  readonly isAligned: boolean;
  readonly shift?: number;
})[] = [
  { size: 128, isAligned: false, ...rounding(4, 0, 0, 0, 0) },
  // The largest magnitude of every symmetric grid is positive, because f32 decides how a negative one is rounded.
  { size: 128, isAligned: true, ...rounding(3, 1, 32, 2, 4), shift: 0.25 },
  { size: 256, isAligned: true, ...rounding(4, 0, 64, 0, 0) },
  { size: 77, isAligned: true, ...rounding(2, 0, 0, 5, 16) },
  // All weights of a grid have the same sign, so that the grid must still begin or end at 0.
  { size: 44, isAligned: true, ...rounding(4, 0, 4, 0, 0), shift: 1 },
  { size: 40, isAligned: true, ...rounding(4, 0, 4, 0, 0), shift: -1 },
];

/** The dimensions of the removals, and the states of the weights: candidates, some forced and some removed already. */
const REMOVAL = { rows: 5, cols: 130, ld: 132, depth: 44 };

/** Returns the operands of `remove_weights`. The inverse Hessian is a Toeplitz matrix that is diagonally dominant. */
function removalOperands({ rows, cols, ld, depth }: typeof REMOVAL) {
  const band = signed(cols, 320), inverse = new Float32Array(cols * ld);
  for (let i = 0; i < cols; i++) {
    for (let j = 0; j < cols; j++) {
      inverse[i * ld + j] = i === j ? 4 : band[Math.abs(i - j)] / (8 + Math.abs(i - j));
    }
  }
  const kinds = below(16, rows * ld, 321);
  const state = (kind: number) =>
    [WeightState.removed, WeightState.forced, WeightState.locked][kind] ?? WeightState.candidate;
  return {
    inverse,
    bounds: positive(ld, 322).map((value) => value / 4),
    limits: Uint32Array.from({ length: rows }, (_, r) => depth - 3 * r),
    weights: signed(rows * ld, 323).map((value) => 8 * value),
    diagonal: filled(rows * ld, 4),
    states: Uint32Array.from(kinds, (kind, i) => i % ld < cols ? state(kind) : WeightState.removed),
    vectors: signed(rows * depth * ld, 324).map((value) => value / 8),
    trace: words(rows * depth * 2, 325),
  };
}

const removals = ([
  ["unstructured", { start: 0, steps: 40, keep: 0, group: 0 }, REMOVAL],
  ["3:8", { start: 0, steps: 44, keep: 3, group: 8 }, REMOVAL],
  ["later steps", { start: 21, steps: 9, keep: 0, group: 0 }, REMOVAL],
  ["1101 columns", { start: 0, steps: 6, keep: 0, group: 0 }, { rows: 2, cols: 1101, ld: 1104, depth: 6 }],
] as const).map(([feature, steps, size]) =>
  defineCase(removeWeights, {
    feature,
    params: { ...size, ...steps },
    buffers: () => removalOperands(size),
    roundings: { weights: 4 * size.depth, diagonal: 4 * size.depth, vectors: 4 * size.depth },
    // Element 2i of the trace is a column, and element 2i + 1 the bits of a score.
    includes: { trace: (i) => i % 2 === 0 },
    outputs: {
      scores: {
        binding: "trace",
        roundings: 4 * size.depth,
        includes: (i) =>
          i % 2 === 1 && Math.floor(i / 2) % size.depth >= steps.start &&
          Math.floor(i / 2) % size.depth < Math.min(steps.start + 5, size.depth - 12),
      },
    },
  })
);

export const BLOCK_CASES: readonly KernelCase[] = [
  ...[[128, false], [256, true], [77, true]].map(([size, isAligned]) =>
    defineCase(pruneBlock, {
      feature: `${size} columns`,
      params: place(Number(size), Boolean(isAligned)),
      buffers: () => ({
        ...blockBuffers(place(Number(size), Boolean(isAligned))),
        ...tiedKeys(Number(size)),
      }),
      roundings: blockRoundings(Number(size)),
    })
  ),
  ...([[128, false, 3, 5, 1], [256, true, 2, 4, 0], [77, true, 40, 100, 0]] as const).map((
    [size, isAligned, keep, group, has_forced],
  ) =>
    defineCase(pruneBlockNM, {
      feature: `${size} columns, ${keep}:${group}`,
      params: { ...place(size, isAligned), keep, group, has_forced },
      buffers: () => {
        const block = place(size, isAligned);
        const buffers = blockBuffers(block);
        return {
          ...buffers,
          // Some scores are at least 2, so that all bits of their exponents matter.
          work: buffers.work.map((value) => size === 256 ? 4 * value : value),
          forced: words((ROW0 + ROWS) * block.words, 307).map((word) => word & 0x10010101),
        };
      },
      roundings: blockRoundings(size),
    })
  ),
  ...ROUNDED.map(({ size, isAligned, shift, ...options }) => {
    const block = place(size, isAligned),
      grids = options.grid_size ? Math.ceil(size / options.grid_size) + 1 : 1;
    return defineCase(quantizeBlock, {
      feature: `${size} columns, ${options.max_code + 1} codes, ${
        options.grid_size || "all"
      } columns per grid`,
      params: { ...block, ...options, grids },
      buffers: () => ({
        ...blockBuffers(block, shift),
        scales: positive((ROW0 + ROWS) * grids, 308).map((value) => 3 * value / (options.max_code + 1)),
        zeros: Float32Array.from(below(options.max_code + 1, (ROW0 + ROWS) * grids, 309)),
      }),
      roundings: { ...blockRoundings(size), scales: 4 * sumRoundings(size) },
    });
  }),
  defineCase(rowExtremes, {
    params: { rows: 19, cols: 301, ld: 305, row0: 2 },
    buffers: () => ({
      w: signed(19 * 305, 310).map((value, i) => Math.floor(i / 305) % 7 === 3 ? Math.abs(value) : value),
      lows: filled(23, 0).map((_, i) => i % 5 === 0 ? -2 : 0),
      highs: filled(23, 0).map((_, i) => i % 4 === 0 ? 2 : 0),
    }),
  }),
  ...[0, 1].map((symmetric) =>
    defineCase(fitGrids, {
      feature: symmetric ? "symmetric" : "asymmetric",
      params: { count: 75, max_code: 15, symmetric },
      buffers: () => ({
        ranges: positive(80, 311).map((value, i) => i % 7 === 5 ? 1 : value),
        // Some scales are just above the smallest normal number.
        scales: signed(80, 312).map((value, i) =>
          i % 7 === 5 ? -1.125 * 15 * 2 ** -126 : i % 9 === 0 ? 0 : -Math.abs(value)
        ),
        zeros: signed(80, 313).map((value, i) => i % 7 === 5 || i % 6 === 0 ? 0 : Math.abs(value)),
      }),
      roundings: { scales: 8 },
      includes: { zeros: (i) => i < 75 },
    })
  ),
  ...[0, 8].map((grid_size) =>
    defineCase(encodeCodes, {
      feature: `${grid_size || "all"} columns per grid`,
      params: { count: 1423, cols: 43, q_offset: 5, row0: 2, grid_size, grids: grid_size ? 6 : 1 },
      buffers: () => {
        const grids = grid_size ? 6 : 1, scales = positive(36 * grids, 314);
        const zeros = Float32Array.from(below(16, 36 * grids, 315)), codes = below(16, 1430, 316);
        const q = Float32Array.from(codes, (code, at) => {
          const i = Math.max(0, at - 5),
            row = 2 + Math.floor(i / 43),
            grid = grid_size ? Math.floor(i % 43 / 8) : 0;
          return (code - zeros[row * grids + grid]) * scales[row * grids + grid];
        });
        return { q, scales, zeros, codes: words(360, UNTOUCHED) };
      },
    })
  ),
  ...removals,
];
