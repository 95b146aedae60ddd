/**
 * Creates the layer of the large bench. The same sizes give the same numbers. The weights W and the Hessian H are created in
 * pieces on the device, because they may be too large for this process. H is accumulated from calibration inputs by Pare's
 * own code. The inputs are a few hundred tokens and stay in this process, so that a check can recompute any element of H.
 */

import type { Backend } from "../../../src/backend/backend.ts";
import { TiledMatrix } from "../../../src/backend/tiled_matrix.ts";
import { HessianAccumulator } from "../../../src/calibration/hessian.ts";
import { normals } from "../../../tests/support/random.ts";

/** The sizes of the layer. */
export interface LargeShape {
  readonly rows: number;
  readonly cols: number;
  /**
   * The number of calibration tokens. With fewer tokens than `cols`, H is singular until it is damped. That
   * is also the case when real layers of this size are calibrated.
   */
  readonly tokens: number;
  /** The number of rows and of columns of a tile, a multiple of the solver's block size. */
  readonly edge: number;
}

/** The correlation of neighbouring inputs. The inputs of a token are a first-order autoregressive process. */
const CORRELATION = 0.9;
/** Every 997th input is dead: it is 0 in every token. */
const DEAD_PERIOD = 997;
const FIRST_DEAD = 31;
/** The most bytes of inputs that are uploaded at one time. */
const PANEL_BYTES = 64 * 2 ** 20;

/** Whether input `j` is 0 in every token. */
export function isDead(j: number): boolean {
  return j % DEAD_PERIOD === FIRST_DEAD;
}

/**
 * Creates the calibration inputs, (tokens, cols) f32. Neighbouring inputs are correlated, and their scales fall from 1 to
 * 0.05.
 */
export function makeInputs({ tokens, cols }: LargeShape): Float32Array<ArrayBuffer> {
  const inputs = new Float32Array(tokens * cols);
  const noiseScale = Math.sqrt(1 - CORRELATION ** 2);
  for (let t = 0; t < tokens; t++) {
    const noise = normals(cols, 2 * t + 1);
    let value = noise[0];
    for (let j = 0; j < cols; j++) {
      value = j === 0 ? value : CORRELATION * value + noiseScale * noise[j];
      if (!isDead(j)) inputs[t * cols + j] = value * (1 - (0.95 * j) / cols);
    }
  }
  return inputs;
}

/**
 * Accumulates H = Σ x·xᵀ over the rows x of `inputs` (tokens, cols) on the device and waits for the result.
 * @returns H, (cols, cols) in upper storage. The caller owns it
 */
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

/**
 * Returns the elements [col0, col0 + count) of one row of W, drawn from the standard normal distribution.
 * `col0` must be the first column of a tile.
 */
function weightSegment(row: number, col0: number, count: number): Float32Array<ArrayBuffer> {
  return normals(count, row * 65537 + col0);
}

/** Creates W (rows, cols) f32 on the device. The caller owns it. */
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

/** Returns one row of the weights that `makeWeight` creates. */
export function weightRow(row: number, { cols, edge }: LargeShape): Float32Array<ArrayBuffer> {
  const values = new Float32Array(cols);
  for (let col = 0; col < cols; col += edge) {
    values.set(weightSegment(row, col, Math.min(edge, cols - col)), col);
  }
  return values;
}
