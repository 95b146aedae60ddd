/**
 * The contract every solver keeps: operands on the device in, a pruned layer on the device out. It knows
 * nothing of files, HTTP or dtypes other than f32.
 */

import type { DeviceBuffer } from "../backend/backend.ts";
import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import type { Pattern } from "../sparsity/pattern.ts";

/** A layer to prune. */
export interface Layer {
  /** W, (rows, cols) = (out_features, in_features) f32. The solver overwrites it, with Δ = W − Q; the caller frees it. */
  readonly weight: TiledMatrix;
  /** Entries that must be pruned whatever their score. */
  readonly forced?: ForcedEntries;
}

/** A set of entries that stay pruned, as the request's `mask` tensor names them. */
export interface ForcedEntries {
  /** u32 bits, ⌈cols/32⌉ words a row: 1 where the entry must be pruned. The caller frees it. */
  readonly bits: DeviceBuffer;
  /** (cols) how many entries of each column are forced. */
  readonly perColumn: Uint32Array;
}

/** What to solve for. Validated by the caller. */
export interface SolveOptions {
  /** Fraction of the entries to prune, 0 ≤ s < 1. Not read with an n:m pattern. */
  readonly sparsity: number;
  readonly pattern: Pattern;
  /** Whether to compute the denominator of the relative error, which costs one more product. */
  readonly relativeError: boolean;
}

/** A solved layer. */
export interface Solution {
  /** Q, (rows, cols) f32, exactly 0 where pruned. */
  readonly q: TiledMatrix;
  /** u32 bits, ⌈cols/32⌉ words a row, bit c%32 of word c/32 is 1 where entry c is kept; padding bits are 0. */
  readonly mask: DeviceBuffer;
  /** Entries pruned. */
  readonly zeros: number;
  /** tr(ΔHΔᵀ) on the undamped statistics; null when there were none. */
  readonly loss: number | null;
  /** loss / tr(WHWᵀ); null when not asked for, without statistics, or where only tr(WHWᵀ) is 0. 0 when both are. */
  readonly relativeError: number | null;
  /** Frees q and mask. */
  destroy(): void;
}
