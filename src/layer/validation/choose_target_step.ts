/**
 * Chooses the size of the step towards a target by the validation target (`target_step=auto`). Each size is tried with
 * the pass of SparseGPT on a sample of the rows. The one whose pruned weights have the smallest error against the
 * validation target is chosen. A step of 0 is among them, so a target that does not hold for other inputs is not used.
 */

import type { Backend } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { wordsPerRow } from "../../tensor/pattern.ts";
import type { Factor } from "../linalg/factor.ts";
import { addScaled, copyMatrix } from "../linalg/tile_arithmetic.ts";
import type { LayerParameters } from "../methods.ts";
import { sampleMatrix, sampleRows } from "./row_sample.ts";
import type { Layer } from "../solvers/solver.ts";
import { solveSparseGpt } from "../solvers/sparsegpt.ts";
import { ValidationLoss } from "../solvers/validation_loss.ts";

/**
 * The sizes α that are tried. A whole step is not among them. It has the smallest loss in most layers, but whole models
 * were worse with it than with ½, because several layers then make up for the same error.
 */
const SIZES = [0, 0.25, 0.5];

/** A layer before its step, with matrices in the tiles of its weights. They are only read. */
export interface StepTrial {
  /** The layer with the original weights W. */
  readonly layer: Layer;
  /** X, the whole step. */
  readonly change: TiledMatrix;
  /** Hv, (cols, cols) f32, upper storage. */
  readonly validation: TiledMatrix;
  /** Gv = Tv − W·Hv. */
  readonly gradient: TiledMatrix;
}

/**
 * Returns the size α of the step after which the pass has the smallest validation loss. Of equal losses, it is the
 * smallest size.
 * @param factor the factor of the solve, which is only read
 * @throws the errors of `ValidationLoss.open` and `solveSparseGpt`
 */
export async function chooseTargetStep(
  backend: Backend,
  { layer, validation, ...whole }: StepTrial,
  factor: Factor,
  parameters: LayerParameters,
): Promise<number> {
  using owned = new ResourceSet();
  const sample = owned.add(await sampleRows(backend, layer)), { weight } = sample;
  const change = owned.add(sampleMatrix(backend, whole.change));
  const gradient = owned.add(sampleMatrix(backend, whole.gradient));
  const loss = owned.add(await ValidationLoss.open(backend, weight, validation, { gradient }));
  const anyMask = owned.add(
    backend.createBuffer("mask of a sum", 4 * weight.rows * wordsPerRow(weight.cols)),
  );
  let best = { size: 0, loss: Infinity };
  for (const size of SIZES) {
    copyMatrix(backend, loss.weight, weight);
    addScaled(backend, change, size, weight, anyMask);
    const solution = await solveSparseGpt(backend, sample, factor, { ...parameters, relativeError: false });
    const measured = await loss.measure(solution).finally(() => solution.destroy());
    if (measured < best.loss) best = { size, loss: measured };
  }
  return best.size;
}
