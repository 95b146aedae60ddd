/** Damps the statistics of a layer, and factors them if the solve uses a factor. */

import type { Backend } from "../device/backend.ts";
import { DEFAULT_DAMPING } from "../protocol/limits.ts";
import { chooseDamping } from "./validation/choose_damping.ts";
import { type Factor, factor as factorStatistics } from "./linalg/factor.ts";
import { copyTiled } from "./linalg/submatrix.ts";
import {
  choosesDamping,
  type DampedParameters,
  keepsHessian,
  type LayerOperands,
  type LayerParameters,
  usesFactor,
} from "./methods.ts";

/**
 * Chooses the damping if the parameters leave it open, and makes the factor that the solve uses, unless the operands
 * have it.
 * @returns the factor, which the caller frees, the damping λ of the solve, and its shrinkage s (`linalg/shrink.ts`)
 * @throws the errors of `factor` and `chooseDamping`
 */
export async function dampStatistics(
  backend: Backend,
  operands: LayerOperands,
  parameters: LayerParameters,
): Promise<{ readonly factor?: Factor; readonly damping: number; readonly shrinkage: number }> {
  const isUsed = usesFactor(parameters);
  if (choosesDamping(parameters)) {
    const { layer, hessian, validation } = operands;
    const { factor, shrinkage } = await chooseDamping(
      backend,
      { layer, hessian: hessian!, validation: validation! },
      parameters,
    );
    if (!isUsed) factor.destroy();
    return { factor: isUsed ? factor : undefined, damping: factor.damping, shrinkage };
  }
  // A method without damped statistics has no damping to choose, and ignores this one.
  const damping = parameters.damping === "auto" ? DEFAULT_DAMPING : parameters.damping;
  const damped = { ...parameters, damping };
  const factor = isUsed && !operands.factor ? await factorOperands(backend, operands, damped) : undefined;
  return { factor, damping, shrinkage: 0 };
}

async function factorOperands(
  backend: Backend,
  { hessian, validation }: LayerOperands,
  parameters: DampedParameters,
): Promise<Factor> {
  const isKept = keepsHessian(parameters, validation !== undefined);
  const operand = isKept ? copyTiled(backend, hessian!, hessian!.edge) : hessian!;
  const { blocksize, damping, quantization } = parameters;
  return await factorStatistics(backend, operand, { blocksize, damping, order: quantization?.order });
}
