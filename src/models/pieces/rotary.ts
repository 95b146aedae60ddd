/**
 * Rotary position embedding. The angles of every position are tabulated on the host in float64: those of late positions are
 * large, and a shader's sine of a large argument is whatever the device makes of it.
 */

import type { DeviceBuffer } from "../../backend/backend.ts";
import { rotary } from "../../kernels/rotary.ts";
import type { BlockPass } from "./block_pass.ts";
import type { Columns } from "./columns.ts";

/** How queries and keys are turned. */
export interface RotarySpec {
  /** Pairs (i, i + pairs) of a head's dimensions that are turned: the dimensions from 2 · pairs on stay. */
  readonly pairs: number;
  /** Factor on the sines and cosines. */
  readonly scale: number;
  /** Radians that each pair turns from one token to the next, in windows of `tokens`. */
  frequencies(tokens: number): Float64Array;
}

/** Queues the turn of `heads` heads of `headDim`, in place. */
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

/** (tokens, 2 · pairs): the cosines, then the sines, of each token. */
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
