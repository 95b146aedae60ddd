/**
 * The parts that the declarations of `prune_block.ts` and `quantize_block.ts` share. Both kernels loop over the columns
 * of a block (shaders/shared/column_loop.wgsl).
 */

import { type BindingAccess, type ShaderVariant, u32 } from "./kernel.ts";
import { filled, positives, signed, sumRoundings, words } from "./kernel_case.ts";
import columnLoop from "../../../shaders/shared/column_loop.wgsl" with { type: "text" };

/** The rows per workgroup, as in the shader. */
const ROWS = 8;
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

/** Returns a shader of `code`, which calls the functions of shaders/shared/column_loop.wgsl. */
export function columnLoopShader(code: string, constants: ColumnLoopConstants): ShaderVariant<"rows"> {
  return { code: columnLoop + code, constants, grid: ({ rows }) => [Math.ceil(rows / ROWS), 1, 1] };
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
