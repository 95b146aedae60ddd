/**
 * The layer of the large bench: the same numbers for the same sizes, made a piece at a time, so that neither W nor H is ever whole
 * on the host. H comes of calibration inputs that the project's own accumulation sums on the device; only they, a few hundred
 * tokens, are kept, for the check to recompute any element of H from.
 */

import type { Backend } from "../../../src/backend/backend.ts";
import { TiledMatrix } from "../../../src/backend/tiled_matrix.ts";
import { HessianAccumulator } from "../../../src/calibration/hessian.ts";
import { normals } from "../../../tests/support/random.ts";

/** What is made. */
export interface LargeShape {
  readonly rows: number;
  readonly cols: number;
  /** Calibration tokens; fewer than `cols` leave H singular but for its damping, as calibration of such layers does. */
  readonly tokens: number;
  /** Of the tiles; a multiple of the block size. */
  readonly edge: number;
}

/** Correlation of neighbouring inputs, an autoregressive process along a token. */
const CORRELATION = 0.9;
/** Inputs that no token makes active: one in so many. */
const DEAD_PERIOD = 997;
const FIRST_DEAD = 31;
/** Bytes of inputs uploaded at a time. */
const PANEL_BYTES = 64 * 2 ** 20;

/** Whether input `j` is 0 in every token. */
export function isDead(j: number): boolean {
  return j % DEAD_PERIOD === FIRST_DEAD;
}

/** (tokens, cols) f32: inputs of scales that fall from 1 to 0.05, correlated along a token. */
export function makeInputs({ tokens, cols }: LargeShape): Float32Array<ArrayBuffer> {
  const inputs = new Float32Array(tokens * cols);
  const fresh = Math.sqrt(1 - CORRELATION ** 2);
  for (let t = 0; t < tokens; t++) {
    const noise = normals(cols, 2 * t + 1);
    let value = noise[0];
    for (let j = 0; j < cols; j++) {
      value = j === 0 ? value : CORRELATION * value + fresh * noise[j];
      if (!isDead(j)) inputs[t * cols + j] = value * (1 - (0.95 * j) / cols);
    }
  }
  return inputs;
}

/** Queues H = Σ x xᵀ of the rows of `inputs`, (tokens, cols), and waits for it. The caller frees it. */
export async function makeHessian(
  backend: Backend,
  inputs: Float32Array<ArrayBuffer>,
  { tokens, cols, edge }: LargeShape,
): Promise<TiledMatrix> {
  const panelTokens = Math.min(tokens, Math.max(1, Math.floor(PANEL_BYTES / (4 * cols))));
  const panel = backend.createBuffer("panel of inputs", 4 * panelTokens * cols);
  const hessian = new HessianAccumulator(backend, "hessian", cols, edge);
  for (let t = 0; t < tokens; t += panelTokens) {
    const count = Math.min(panelTokens, tokens - t);
    const { buffer } = inputs;
    backend.write(panel, 0, new Uint8Array(buffer, 4 * t * cols, 4 * count * cols));
    hessian.add(panel, count);
    await backend.finish();
  }
  panel.destroy();
  return hessian.take();
}

/** Elements [col0, col0 + count) of row `row` of W, standard normal. A tile asks for its own rows' parts. */
export function weightSegment(row: number, col0: number, count: number): Float32Array<ArrayBuffer> {
  return normals(count, row * 65537 + col0);
}

/** W, (rows, cols), on the device. The caller frees it. */
export function makeWeight(backend: Backend, { rows, cols, edge }: LargeShape): TiledMatrix {
  const weight = new TiledMatrix(backend, { label: "weight", rows, cols, edge });
  for (const tile of weight.tiles()) {
    const values = new Float32Array(tile.rows * tile.ld);
    for (let r = 0; r < tile.rows; r++) {
      values.set(weightSegment(tile.row0 + r, tile.col0, tile.cols), r * tile.ld);
    }
    backend.write(tile.buffer, 0, new Uint8Array(values.buffer));
  }
  return weight;
}

/** Row `row` of W as `makeWeight` makes it. */
export function weightRow(row: number, { cols, edge }: LargeShape): Float32Array<ArrayBuffer> {
  const values = new Float32Array(cols);
  for (let col = 0; col < cols; col += edge) {
    values.set(weightSegment(row, col, Math.min(edge, cols - col)), col);
  }
  return values;
}
