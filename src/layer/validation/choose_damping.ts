/**
 * Chooses the damping of a layer by its validation statistics (`damping=auto`). Statistics H of few inputs, or of inputs unlike later
 * inputs, make a solver compensate along correlations that other inputs do not have. Two changes of H weaken these correlations: λ·mean(diag
 * H) on the diagonal, and a shrinkage s towards the diagonal, (1 − s)·H + s·diag(H). The candidates are tried with the pass of SparseGPT on
 * a sample of the rows, and the candidate with the smallest validation loss is chosen. The method itself then runs once.
 */

import type { Backend } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { DEFAULT_DAMPING, MAX_DAMPING } from "../../protocol/limits.ts";
import { copyMatrix, largestMagnitude, readDiagonal, scaleBy } from "../linalg/tile_arithmetic.ts";
import { type Factor, factor as factorStatistics } from "../linalg/factor.ts";
import { copyShrunk } from "../linalg/shrink.ts";
import type { LayerOperands, LayerParameters } from "../methods.ts";
import { sampleRows } from "./row_sample.ts";
import { scaleExponent } from "../solvers/solver.ts";
import { solveSparseGpt } from "../solvers/sparsegpt.ts";
import { ValidationLoss } from "../solvers/validation_loss.ts";

/** The dampings λ and the shrinkages s that are tried, weakest first. The trials of a list end when a value is not better than the previous value. */
const DAMPINGS = [DEFAULT_DAMPING, 0.1, MAX_DAMPING], SHRINKAGES = [0.1, 0.3];

export interface ChosenDamping {
  /** The factor of the shrunk and damped statistics, which has the damping λ. The caller frees it. */
  readonly factor: Factor;
  readonly shrinkage: number;
}

/** A layer with a Hessian and validation statistics. */
type TrialOperands = Required<Pick<LayerOperands, "layer" | "hessian" | "validation">>;

/**
 * Returns the damping with the smallest validation loss. Of equal losses, the damping that was tried first is returned.
 * @param operands they are not changed, except for the undefined lower triangles of diagonal tiles
 * @throws the errors of `factor`, `ValidationLoss.open` and `solveSparseGpt`
 */
export async function chooseDamping(
  backend: Backend,
  { layer, hessian, validation }: TrialOperands,
  parameters: LayerParameters,
): Promise<ChosenDamping> {
  using owned = new ResourceSet(), bestFactor = new DisposableStack();
  const sample = owned.add(await sampleRows(backend, layer)), { weight } = sample;
  const { blocksize, quantization } = parameters;
  if (!quantization) await scaleSample(backend, weight, validation);
  const losses = owned.add(await ValidationLoss.open(backend, weight, validation));
  let best: ChosenDamping & { readonly loss: number } | undefined;
  bestFactor.defer(() => best?.factor.destroy());
  /** Tries one damping, and returns its validation loss. */
  const tryDamping = async (damping: number, shrinkage: number) => {
    const statistics = await copyShrunk(backend, hessian, shrinkage);
    using unused = new ResourceSet();
    const order = quantization?.order;
    const factor = unused.add(await factorStatistics(backend, statistics, { blocksize, damping, order }));
    copyMatrix(backend, losses.weight, weight);
    const options = { ...parameters, relativeError: false };
    const solution = await solveSparseGpt(backend, sample, factor, options);
    const loss = await losses.measure(solution).finally(() => solution.destroy());
    if (best && !(loss < best.loss)) return loss;
    unused.move();
    best?.factor.destroy();
    best = { factor, shrinkage, loss };
    return loss;
  };
  const first = await tryDamping(DAMPINGS[0], 0);
  // The factorisation may have raised the damping. With the raised damping, shrunk statistics are positive definite too.
  const least = best!.factor.damping;
  const lists = [
    DAMPINGS.filter((damping) => damping > least).map((damping) => ({ damping, shrinkage: 0 })),
    SHRINKAGES.map((shrinkage) => ({ damping: least, shrinkage })),
  ];
  for (const list of lists) {
    let previous = first;
    for (const { damping, shrinkage } of list) {
      const loss = await tryDamping(damping, shrinkage);
      if (!(loss < previous)) break;
      previous = loss;
    }
  }
  bestFactor.move();
  return best!;
}

/** Scales weights by the power of two with which f32 can hold their losses. */
async function scaleSample(backend: Backend, weight: TiledMatrix, validation: TiledMatrix): Promise<void> {
  const largest = (await readDiagonal(backend, validation)).reduce((a, b) => Math.max(a, b), 0);
  const exponent = scaleExponent(await largestMagnitude(backend, weight), largest);
  if (exponent !== 0) scaleBy(backend, weight, 2 ** -exponent);
}
