/**
 * Rotary position embedding (Su et al., arXiv 2104.09864). The sines and cosines of all positions are computed in float64 on the CPU,
 * because the angles of late positions are large, and devices differ in the accuracy of the sine of a large angle.
 */

import type { DeviceBuffer } from "../../device/backend.ts";
import { rotary } from "../../device/kernels/forward/rotary.ts";
import type { BlockPass } from "./block_pass.ts";
import type { ColumnsView } from "./columns_view.ts";

export interface RotarySpec {
  /** Distinguishes the rotation from the others of a model. Only a model with several rotations needs it. */
  readonly name?: string;
  /**
   * The number of rotated pairs. For i < pairs, dimensions i and i + pairs of a head form a pair, or dimensions 2i and 2i + 1 if the
   * rotation is interleaved. The other dimensions do not rotate.
   */
  readonly pairs: number;
  readonly isInterleaved?: boolean;
  /** The base of the frequencies: without scaling, pair i rotates by theta^(−i/pairs) radians per token. */
  readonly theta: number;
  /** A factor by which the sines and cosines are multiplied. */
  readonly scale: number;
  /** Returns a further factor, which depends on the position of the token. By default there is none. */
  tokenScale?(position: number): number;
  /** In LongRoPE and dynamic scaling, the number of tokens of the windows in training. The frequencies of longer windows differ. */
  readonly trainedTokens?: number;
  /** The settings of YaRN, if all others have their default values. Other programs compute the frequencies from them. */
  readonly yarn?: {
    readonly factor: number;
    /** The number of tokens of the windows in training. */
    readonly trainedTokens: number;
    /** Whether the bounds between which frequencies are interpolated are whole pairs. */
    readonly roundsBounds: boolean;
  };
  /**
   * Returns the angle by which each pair rotates per token, in radians, (pairs) f64. In some models the angle depends on `tokens`, the
   * length of the window.
   */
  frequencies(tokens: number): Float64Array;
}

/** Queues the rotation of the heads of `x`, in place. @param headStride the distance between the first columns of two consecutive heads */
export function rotate(
  pass: BlockPass,
  spec: RotarySpec,
  x: ColumnsView,
  heads: number,
  headStride: number,
): void {
  const { backend, tape } = pass;
  const params = {
    rows: pass.rows,
    tokens: pass.tokens,
    heads,
    head_stride: headStride,
    pairs: spec.pairs,
    offset: x.offset,
    ld: x.ld,
    interleaved: spec.isInterleaved ? 1 : 0,
  };
  tape?.beforeChange(x.buffer);
  backend.dispatch(rotary, { table: tableOnDevice(pass, spec), x: x.buffer }, params);
  tape?.record(x.buffer, (gradient) => {
    // The transpose of a rotation rotates by the opposite angle.
    backend.dispatch(rotary, { table: inverseTable(pass, spec), x: gradient }, params);
  });
}

/** Returns the table that undoes the rotations of a pass without a cache. */
function inverseTable({ workspace, tokens }: BlockPass, spec: RotarySpec): DeviceBuffer {
  const inverse = {
    ...spec,
    frequencies: (length: number) => spec.frequencies(length).map((angle) => -angle),
  };
  return workspace.constant(
    `inverse ${tableName(spec)}`,
    tokens * 2 * spec.pairs,
    () => rotaryTable(inverse, tokens),
  );
}

function tableName({ name = "" }: RotarySpec): string {
  return `rotary table ${name}`;
}

/** Returns the table of the tokens of a pass. If earlier tokens are in a cache, it starts after their rows. */
function tableOnDevice({ backend, workspace, tokens, cache }: BlockPass, spec: RotarySpec): DeviceBuffer {
  const name = tableName(spec),
    columns = 2 * spec.pairs,
    length = cache?.capacity ?? tokens;
  const table = workspace.constant(name, length * columns, () => rotaryTable(spec, length));
  if (!cache) return table;
  const rows = workspace.buffer(`${name} of the pass`, tokens * columns);
  backend.copy(table, 4 * cache.past * columns, rows, 0, 4 * tokens * columns);
  return rows;
}

/** Returns the table (tokens, 2 · pairs) f32. The row of a token has the cosines of its angles, then the sines. */
function rotaryTable(spec: RotarySpec, tokens: number): Float32Array<ArrayBuffer> {
  const { pairs } = spec;
  const frequencies = spec.frequencies(tokens);
  const table = new Float32Array(tokens * 2 * pairs);
  for (let t = 0; t < tokens; t++) {
    const row = 2 * pairs * t, scale = spec.scale * (spec.tokenScale?.(t) ?? 1);
    for (let i = 0; i < pairs; i++) {
      const angle = t * frequencies[i];
      table[row + i] = scale * Math.cos(angle);
      table[row + pairs + i] = scale * Math.sin(angle);
    }
  }
  return table;
}
