/**
 * The parts that the declarations of `prune_block.ts` and `quantize_block.ts` share. Both kernels loop over the columns
 * of a block (shaders/shared/column_loop.wgsl). The functions with `Loops` in their names count iterations.
 */

import { type BindingAccess, u32 } from "./kernel.ts";
import { filled, positives, signed, sumRoundings, words } from "./kernel_case.ts";
import { loop, type LoopCount, loopOver, sequence } from "./loop_count.ts";

/** The rows per workgroup and the columns per segment, as in the shader. */
export const ROWS = 8;
export const SEGMENT = 4;
/** The most columns of a block that fit into the workgroup memory, and into the scratch memory of the twin. */
export const MAX_BLOCK_SIZE = 256;

export const columnLoopBindings = {
  work: "read",
  u: "read",
  w: "read_write",
  q: "read_write",
  mask: "read_write",
  sums: "read_write",
} as const satisfies Record<string, BindingAccess>;

export const columnLoopParams = {
  ...u32("rows", "size", "row0", "ldwork", "u_offset", "ldu", "w_offset", "ldw", "first"),
  ...u32("words"),
};

/** The values of the `override` constants in shaders/shared/column_loop.wgsl. */
export interface ColumnLoopConstants extends Readonly<Record<string, number>> {
  /** The number of shader invocations that share one row. */
  readonly LANES: number;
  /** The columns per span. After each segment, only the later columns of the same span are updated immediately. */
  readonly SPAN: number;
  /** The elements of workgroup memory for results. It is 1 for rows with one lane, unless grids are searched. */
  readonly KEPT: number;
}

/** The constants for hardware adapters (GPUs). */
export const HARDWARE: ColumnLoopConstants = {
  LANES: 16,
  SPAN: MAX_BLOCK_SIZE,
  KEPT: ROWS * (MAX_BLOCK_SIZE + 16),
};
/** The constants for software adapters, which run shaders on the CPU. */
export const SOFTWARE: ColumnLoopConstants = { LANES: 1, SPAN: 16, KEPT: 1 };

/** Returns the columns of a span, like `span_size` in the shader. A span has whole units of `unit` columns. */
export function spanSize(unit: number, { SPAN }: ColumnLoopConstants): number {
  return SPAN === MAX_BLOCK_SIZE ? SPAN : Math.max(Math.floor(SPAN / unit), 1) * unit;
}

/** Counts the iterations of `choose_in_group` in the shader, for the group of the columns start … end−1. */
export function groupChoiceLoops(start: number, end: number, { LANES }: ColumnLoopConstants): LoopCount {
  return loop(Math.ceil((end - start) / LANES), loop(end - start));
}

/** Counts the iterations of the shader's `load_row`, `store_row`, `store_mask` and `store_sums` for `size` columns. */
export function rowLoops(size: number, { LANES }: ColumnLoopConstants): LoopCount {
  const words = Math.max(MAX_BLOCK_SIZE / 32, Math.ceil(size / 32) + 1);
  return sequence(
    loop(Math.ceil(words / LANES)),
    loop(Math.ceil(size / LANES)),
    loop(LANES === 1 ? 0 : Math.ceil(size / LANES)),
    loop(Math.ceil(words / LANES)),
    loop(LANES),
  );
}

/**
 * Counts the iterations of `update_span` in the shader, for the columns start … end−1. One of its two nests of loops
 * runs, depending on the alignment of the rows of U. The result is the larger count.
 */
export function updateSpanLoops(start: number, end: number): LoopCount {
  const columns = start === 0 ? 0 : end - start;
  const byElement = (count: number) => loop(count, loop(start));
  const byQuad = (count: number) => loop(Math.ceil(count / 16), loop(start), loop(4));
  const unaligned = sequence(byElement(columns), byQuad(0)),
    aligned = sequence(byElement(0), byQuad(columns));
  return unaligned.iterations > aligned.iterations ? unaligned : aligned;
}

/** Counts the loop over the segments of the columns start … end−1 in the shader, with the loops of `sweep_segment`. */
export function segmentLoops(
  start: number,
  end: number,
  spanEnd: number,
  constants: ColumnLoopConstants,
): LoopCount {
  const prune = sequence(loop(SEGMENT), loop(SEGMENT, loop(SEGMENT - 1)));
  const segments = cut(start, end, SEGMENT).map(([, segmentEnd]) =>
    sequence(prune, loop(Math.ceil((spanEnd - segmentEnd) / constants.LANES)))
  );
  return loopOver(segments);
}

/** Cuts the columns start … end−1 into parts of `step` columns. The last part may be shorter. */
export function cut(start: number, end: number, step: number): [start: number, end: number][] {
  return Array.from({ length: Math.ceil((end - start) / step) }, (_, i) => [
    start + i * step,
    Math.min(start + (i + 1) * step, end),
  ]);
}

export interface BlockOptions {
  /** The number of rows. By default, they need three workgroups, the last of which is not full. */
  readonly rows?: number;
  /** The first column of the block. By default, it is 0 in an aligned case, and within a word of the mask otherwise. */
  readonly first?: number;
  /** A number that is added to the weights. @default 0 */
  readonly shift?: number;
}

/**
 * A block of `size` columns with well-conditioned U. The rows of an aligned U start at multiples of 16 bytes. The error
 * of a column depends on the errors of all columns before it.
 */
export function columnLoopCase(size: number, isAligned: boolean, options: BlockOptions = {}) {
  const { rows = 19, first = isAligned ? 0 : 37, shift = 0 } = options;
  const row0 = 2, u_offset = isAligned ? 8 : 9;
  const ldu = Math.ceil(size / 4) * 4 + (isAligned ? 4 : 5), ldwork = size + 2, ldw = size + 9;
  const perRow = Math.ceil((first + size) / 32) + 1, roundings = 4 * sumRoundings(size);
  return {
    params: {
      rows,
      size,
      row0,
      ldwork,
      u_offset,
      ldu,
      w_offset: 6,
      ldw,
      first,
      words: perRow,
    },
    buffers: () => {
      const u = filled(u_offset + size * ldu), noise = signed(size * size, 300 + size);
      for (let i = 0; i < size; i++) {
        for (let j = i; j < size; j++) {
          u[u_offset + i * ldu + j] = i === j ? 1 + noise[i * size + j] / 2 : noise[i * size + j] / 16;
        }
      }
      return {
        work: signed((row0 + rows) * ldwork, 301 + size).map((value) => 0.75 * value + shift),
        u,
        w: signed(6 + rows * ldw, 302 + size),
        q: filled(6 + rows * ldw),
        mask: words((row0 + rows) * perRow, 303 + size),
        sums: positives(2 * (row0 + rows), 304 + size),
      };
    },
    roundings: { w: roundings, q: roundings, sums: roundings },
  };
}
