/**
 * The column loop of the solve (DESIGN §3.4): prunes one block of columns for some rows, spreading each
 * column's error over the columns after it. Rows are independent: a workgroup owns some. Two kernels, by how the mask
 * is chosen. With U = I it spreads nothing, and is magnitude pruning.
 *
 * For column j of the block, in order, with w the updated weights:
 *   q = 0 where pruned, else w;  err = (w_j − q)/U[j,j];  w[c] −= err·U[j,c] for c > j.
 *
 * Buffers:
 * - `work`: updated weights W_k, (all rows, `size`) f32, leading dimension `ldwork`; row r of the dispatch is row0 + r. Only read.
 * - `u`: U_kk at `u_offset`, leading dimension `ldu`, upper triangular.
 * - `w` (tile): W_k as it came at [r·ldw + w_offset + j]; becomes Δ = (W as it came) − Q.
 * - `q` (tile): receives Q at [r·ldw + w_offset + j].
 * - `mask`: u32 bits of the whole matrix, `words` a row: bit c%32 of word (row0 + r)·words + c/32, c = first + j, is set to 1
 *   where kept and to 0 where pruned; other bits stay (a word may be shared with the neighbour blocks of the same row).
 * - `sums`: f32 pairs a matrix row: [2·(row0 + r)] += Σ err², [2·(row0 + r) + 1] += Σ Δ².
 */

import { type Access, defineKernel, type Scalar, type ShaderVariant } from "./kernel.ts";
import { loop, type LoopCount, loopOver, sequence } from "./loop_count.ts";
import columnLoop from "../../shaders/shared/column_loop.wgsl" with { type: "text" };
import code from "../../shaders/prune_block.wgsl" with { type: "text" };

/** ROWS and PANEL of shaders/shared/column_loop.wgsl: the rows of a workgroup, and the columns of a panel. */
const ROWS = 8;
const PANEL = 4;
/** The most columns a block may have: what the workgroup memory of the shader and the scratch of the twin hold. */
export const MAX_BLOCK_SIZE = 256;

/** Bound alike by both kernels, so that their shaders share the column loop. */
const bindings = {
  work: "read",
  u: "read",
  w: "read_write",
  q: "read_write",
  mask: "read_write",
  sums: "read_write",
} as const satisfies Record<string, Access>;

const params = {
  rows: "u32",
  size: "u32",
  row0: "u32",
  ldwork: "u32",
  u_offset: "u32",
  ldu: "u32",
  w_offset: "u32",
  ldw: "u32",
  first: "u32",
  words: "u32",
} as const satisfies Record<string, Scalar>;

/** The constants of shaders/shared/column_loop.wgsl that depend on the adapter. */
interface Tuning extends Readonly<Record<string, number>> {
  readonly LANES: number;
  readonly UNIT: number;
}

const DISCRETE: Tuning = { LANES: 16, UNIT: MAX_BLOCK_SIZE };
/** On a software adapter invocations that share work only repeat it, and a weight stored costs more than its updates. */
const SOFTWARE: Tuning = { LANES: 1, UNIT: 16 };

function pruneBlockShader(tuning: Tuning): ShaderVariant<keyof typeof params> {
  return {
    code: columnLoop + code,
    entryPoint: "prune_block",
    constants: tuning,
    grid: (p) => [Math.ceil(p.rows / ROWS), 1, 1],
    loops: ({ size }) => {
      const words = loop(Math.ceil(Math.ceil(size / 32) / tuning.LANES), loop(32));
      const choice = sequence(words, loop(MAX_BLOCK_SIZE / 32, loop(32)));
      const units = cut(0, size, tuning.UNIT).map(([start, end]) =>
        sequence(bringUpLoops(start, end), panelLoops(start, end, end, tuning))
      );
      return sequence(choice, loopOver(units), rowLoops(size, tuning));
    },
  };
}

function pruneBlockNMShader(tuning: Tuning): ShaderVariant<keyof typeof params | "group"> {
  return {
    code: columnLoop + code,
    entryPoint: "prune_block_n_m",
    constants: tuning,
    grid: (p) => [Math.ceil(p.rows / ROWS), 1, 1],
    loops: ({ size, group }) => {
      const { LANES, UNIT } = tuning;
      const unit = UNIT === MAX_BLOCK_SIZE ? UNIT : Math.max(Math.floor(UNIT / group), 1) * group;
      const units = cut(0, size, unit).map(([start, unitEnd]) => {
        const groups = cut(start, unitEnd, group).map(([first, end]) => {
          const choice = loop(Math.ceil((end - first) / LANES), loop(end - first));
          return sequence(choice, panelLoops(first, end, unitEnd, tuning));
        });
        return sequence(bringUpLoops(start, unitEnd), loopOver(groups));
      });
      return sequence(loopOver(units), rowLoops(size, tuning));
    },
  };
}

/** The loops that load a row, and store its mask and sums. */
function rowLoops(size: number, { LANES }: Tuning): LoopCount {
  const words = Math.max(MAX_BLOCK_SIZE / 32, Math.ceil(size / 32) + 1);
  return sequence(
    loop(Math.ceil(words / LANES)),
    loop(Math.ceil(size / LANES)),
    loop(Math.ceil(words / LANES)),
    loop(LANES),
  );
}

/** The loops of `bring_up` for columns start … end−1. They are the most where rows of U do not start on 16 bytes. */
function bringUpLoops(start: number, end: number): LoopCount {
  const aligned = loop(0, loop(0), loop(0));
  return sequence(loop(start === 0 ? 0 : end - start, loop(start)), aligned);
}

/** The loop over the panels of columns start … end−1, with the loops of `sweep_panel`. */
function panelLoops(start: number, end: number, unitEnd: number, { LANES }: Tuning): LoopCount {
  const panel = sequence(loop(PANEL), loop(PANEL, loop(PANEL - 1)));
  return loopOver(
    cut(start, end, PANEL).map(([, last]) => sequence(panel, loop(Math.ceil((unitEnd - last) / LANES)))),
  );
}

/** Cuts the columns start … end−1 into runs of `step`, the last of which may be shorter: the start and end of each. */
function cut(start: number, end: number, step: number): [start: number, end: number][] {
  return Array.from({ length: Math.ceil((end - start) / step) }, (_, i) => [
    start + i * step,
    Math.min(start + (i + 1) * step, end),
  ]);
}

/**
 * Unstructured: an entry is pruned when its key (`keys`, laid out (all rows, `size`) with leading dimension `size`) is below
 * selection[0], or equal to it while selection[2 + row0 + r], decremented in place, is not used up.
 */
export const pruneBlock = defineKernel({
  name: "prune_block",
  bindings: { ...bindings, keys: "read", selection: "read_write" },
  params,
  shader: pruneBlockShader(DISCRETE),
  softwareShader: pruneBlockShader(SOFTWARE),
});

/**
 * n:m: at the first column of each group of `group` consecutive columns, chooses the entries to prune from the weights as
 * updated so far: all but `keep` of the group, smallest |w_j/U[j,j]| first, ties by lower index first; forced entries come before all
 * others and are always pruned. A last group of size g < group keeps ceil(keep·g/group). `forced` as in `scoreKeys`.
 */
export const pruneBlockNM = defineKernel({
  name: "prune_block_n_m",
  bindings: { ...bindings, forced: "read" },
  params: { ...params, keep: "u32", group: "u32", has_forced: "u32" },
  shader: pruneBlockNMShader(DISCRETE),
  softwareShader: pruneBlockNMShader(SOFTWARE),
});
