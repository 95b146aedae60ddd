/**
 * Rotary position embedding. The sines and cosines of all positions are computed on the host in float64, because the angles of late
 * positions are large, and devices compute the sine of a large argument with different accuracy.
 */

import type { DeviceBuffer } from "../../backend/backend.ts";
import { rotary } from "../../kernels/rotary.ts";
import type { BlockPass } from "./block_pass.ts";
import type { Columns } from "./columns.ts";

/** The rotation of queries and keys. */
export interface RotarySpec {
  /** The number of rotated pairs. Dimensions i and i + pairs of a head form a pair, and dimensions from 2 · pairs on do not rotate. */
  readonly pairs: number;
  /** A factor for the sines and cosines. */
  readonly scale: number;
  /** Returns the radians by which each pair rotates from one token to the next, in windows of `tokens` tokens. */
  frequencies(tokens: number): Float64Array;
}

/** Queues the rotation of `heads` heads of `headDim` dimensions, in place. */
export function rotate(pass: BlockPass, spec: RotarySpec, x: Columns, heads: number, headDim: number): void {
  pass.backend.dispatch(rotary, { table: angles(pass, spec), x: x.buffer }, {
    rows: pass.rows,
    tokens: pass.tokens,
    heads,
    head_dim: headDim,
    pairs: spec.pairs,
    offset: x.offset,
    ld: x.ld,
  });
}

function angles({ workspace, tokens }: BlockPass, spec: RotarySpec): DeviceBuffer {
  const count = tokens * 2 * spec.pairs;
  return workspace.constant("rotary table", count, () => rotaryTable(spec, tokens));
}

/** Returns the table (tokens, 2 · pairs) with the cosines, then the sines, of each token. */
export function rotaryTable(spec: RotarySpec, tokens: number): Float32Array<ArrayBuffer> {
  const { pairs, scale } = spec;
  const frequencies = spec.frequencies(tokens);
  const table = new Float32Array(tokens * 2 * pairs);
  for (let t = 0; t < tokens; t++) {
    const row = 2 * pairs * t;
    for (let i = 0; i < pairs; i++) {
      const angle = t * frequencies[i];
      table[row + i] = scale * Math.cos(angle);
      table[row + pairs + i] = scale * Math.sin(angle);
    }
  }
  return table;
}
