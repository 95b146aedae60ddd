/**
 * Handles one layer. The host and the edge call `handleLayer`, which goes from the bytes of a request to those of the
 * answer. A run in one process calls `pruneTensors`, which takes tensors in host memory and statistics on the device,
 * and returns tensors in host memory. Both move the layer to the device, solve it, and check the result in the same
 * way. `solveReceivedLayer` decides what is copied, reused and freed if the statistics are lent.
 */

import type { Backend } from "../device/backend.ts";
import { type TiledMatrix, tileEdgeOn } from "../device/tiled_matrix.ts";
import { tileEdgeFor } from "./linalg/blocking.ts";
import { takeColumns } from "./linalg/column_order.ts";
import { copyTiled } from "./linalg/submatrix.ts";
import { DEFAULT_TARGET_STEP } from "../protocol/limits.ts";
import type { ResolvedParameters } from "../protocol/parameters.ts";
import type { Report } from "../protocol/messages.ts";
import type { Solution } from "./solvers/solver.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { checkAnswer } from "./check_answer.ts";
import { compressLayer, type LayerReport } from "./compress_layer.ts";
import { checkDeviceBytes } from "./device_bytes.ts";
import type { StatisticsRule } from "./body_tensors.ts";
import type { Loan } from "./loan.ts";
import {
  keepsHessian,
  type LayerParameters,
  METHOD_SOLVERS,
  needsStatistics,
  usesStorableFactor,
} from "./methods.ts";
import type { MatrixReader } from "./matrix_reader.ts";
import { type LayerRules, readLayer, type ReceivedLayer, uploadLayer } from "./read_layer.ts";
import { checkLoanFits, requireTensors } from "./required_tensors.ts";
import { type Answer, encodeAnswer, readTensors, weightReader } from "./write_layer.ts";

interface LayerInput {
  readonly parameters: ResolvedParameters;
  /** The statistics that the layer borrows, if it shares them with other layers. The caller returns the loan. */
  readonly loan?: Loan;
}

export interface LayerRequest extends LayerInput {
  /** The bytes of the body, a safetensors file. They are read once. */
  readonly source: AsyncIterable<Uint8Array>;
  readonly totalBytes: number;
}

export interface TensorsRequest extends LayerInput {
  /** The tensors, named as in the body of a request. */
  readonly tensors: ReadonlyMap<string, HostTensor>;
  /** The statistics, if they are on the device and no loan has them. The call overwrites and frees this matrix. */
  readonly hessian?: TiledMatrix;
  /** The validation statistics, in the form of `hessian`, if no loan has them. The call frees this matrix. */
  readonly validation?: TiledMatrix;
  /** The target T, (rows, cols) f32, if it is on the device. The call overwrites and frees this matrix. */
  readonly target?: TiledMatrix;
  /** The validation target, in the form of `target`. The call overwrites and frees this matrix. */
  readonly validationTarget?: TiledMatrix;
}

export interface LayerOptions {
  readonly backend: Backend;
  readonly clock: () => number;
  /** The time on `clock` at which the report's `total` starts. @default the time of the call */
  readonly start?: number;
  /** The largest tile edge of the matrices. @default the edge for the backend (`tileEdgeOn`) */
  readonly tileEdge?: number;
  /**
   * Runs the solve. A server whose device several layers share runs one solve after the other.
   * @default a function that calls `solve` at once
   */
  readonly runSolve?: <T>(solve: () => Promise<T>) => Promise<T>;
}

/** A solved layer, ready to be sent. */
export interface HandledLayer extends Answer {
  readonly report: Report;
  /** Frees the solution, which `chunks` reads. Idempotent. */
  destroy(): void;
}

/**
 * Handles one request. If it throws, nothing that it allocated stays allocated.
 * @throws the errors of `readLayer`, `checkLoanFits`, `solveReceivedLayer` and `checkAnswer`
 */
export async function handleLayer(request: LayerRequest, options: LayerOptions): Promise<HandledLayer> {
  const { backend } = options, { source, totalBytes } = request;
  const solved = await solveLayer(
    request,
    options,
    (rules) => readLayer(backend, source, { ...rules, totalBytes }),
  );
  const { solution, dtype, report, weights } = solved;
  try {
    return { ...encodeAnswer(backend, solution, dtype, report, weights), report, destroy: solved.destroy };
  } catch (error) {
    solved.destroy();
    throw error;
  }
}

/**
 * Prunes a layer in host memory. Nothing that the call allocates on the device stays allocated.
 * @returns the tensors, named as in an answer, and the report
 * @throws the errors of `handleLayer`, except those of a body
 */
export async function pruneTensors(
  { tensors, hessian, validation, target, validationTarget, ...task }: TensorsRequest,
  options: LayerOptions,
): Promise<{ readonly tensors: Map<string, HostTensor>; readonly report: Report }> {
  const { backend } = options;
  using given = new DisposableStack();
  const matrices = [hessian, validation, target, validationTarget];
  for (const matrix of matrices) given.defer(() => matrix?.destroy());
  const solved = await solveLayer(task, options, async (rules) => {
    const { edge, checkShape, statistics } = rules;
    const own = matrices.map((matrix) =>
      matrix && given.adopt(withEdge(backend, matrix, edge), (copy) => copy.destroy())
    );
    const received = await uploadLayer(backend, tensors, {
      ...rules,
      statistics: hessian ? "stored" : statistics,
      checkShape: (rows, cols, has) =>
        checkShape?.(rows, cols, {
          ...has,
          validation: has.validation || !!validation,
          target: has.target || !!target,
          validationTarget: has.validationTarget || !!validationTarget,
        }),
    });
    const destroy = () => {
      for (const matrix of own) matrix?.destroy();
      received.destroy();
    };
    return {
      ...received,
      hessian: own[0] ?? received.hessian,
      validation: own[1] ?? received.validation,
      target: own[2] ?? received.target,
      validationTarget: own[3] ?? received.validationTarget,
      destroy,
    };
  });
  using _solved = { [Symbol.dispose]: solved.destroy };
  const { solution, dtype, weights, report } = solved;
  return { tensors: await readTensors(backend, solution, dtype, weights), report };
}

/** Returns `matrix` with tiles of edge `edge`. If this is a copy, frees `matrix`. */
function withEdge(backend: Backend, matrix: TiledMatrix, edge: number): TiledMatrix {
  if (matrix.edge === edge) return matrix;
  const copy = copyTiled(backend, matrix, edge);
  matrix.destroy();
  return copy;
}

/** A checked solution on the device, and the reader of its weights in `dtype`. */
interface CheckedSolution {
  readonly solution: Solution;
  readonly dtype: FloatDtype;
  readonly weights: MatrixReader;
  readonly report: Report;
  /** Frees the solution. Idempotent. */
  readonly destroy: () => void;
}

/** Solves the layer that `receive` moves to the device, and checks the result. */
async function solveLayer(
  { parameters: given, loan }: LayerInput,
  options: LayerOptions,
  receive: (rules: LayerRules) => Promise<ReceivedLayer>,
): Promise<CheckedSolution> {
  const { backend, clock, runSolve = (solve) => solve() } = options;
  const readStart = clock();
  const { start = readStart } = options;
  using operands = new DisposableStack();
  const edge = tileEdgeFor(given.blocksize, options.tileEdge ?? tileEdgeOn(backend));
  const targetStep = (hasTarget: boolean) => hasTarget ? given.target_step ?? DEFAULT_TARGET_STEP : undefined;
  const received = await receive({
    edge,
    statistics: statisticsRule(given, loan),
    tokenWeights: given.token_weights,
    checkShape(rows, cols, has) {
      METHOD_SOLVERS[given.method].checkShape?.(rows, cols, given.pattern);
      const stepped = { ...given, targetStep: targetStep(has.target) };
      const tensors = { ...has, validation: has.validation || loan?.validation !== undefined };
      requireTensors(stepped, rows, cols, tensors, given.target_step !== undefined);
      const { validation: hasValidation, validationTarget: hasValidationTarget } = tensors;
      checkDeviceBytes(backend, { rows, cols, edge, hasValidation, hasValidationTarget }, stepped);
    },
  });
  operands.defer(received.destroy);
  const isMaskOnly = given.prunesMaskOnly && received.layer.forced !== undefined;
  const parameters = isMaskOnly ? { ...given, sparsity: 0 } : given;
  if (loan) checkLoanFits(received, loan);
  const read = (clock() - readStart) / 1000;

  const dtype = parameters.dtype === "same" ? received.dtype : parameters.dtype;
  const { solution, report: layerReport, weights, resources } = await runSolve(async () => {
    using unsent = new DisposableStack();
    const solved = await solveReceivedLayer(
      backend,
      received,
      loan,
      { ...parameters, answerDtype: dtype, targetStep: targetStep(received.target !== undefined) },
      clock,
    );
    unsent.defer(solved.solution.destroy);
    const { q, kept } = solved.solution;
    const answered = kept ? unsent.adopt(takeColumns(backend, q, kept), (part) => part.destroy()) : q;
    const weights = unsent.use(weightReader(backend, answered, dtype));
    // The check below waits for the device, which encodes the first weights of the answer meanwhile.
    weights.prepare();
    // The dtypes of 16 bits can overflow where f32 does not.
    if (solved.mayOverflow || dtype !== "F32") await checkAnswer(backend, q, dtype);
    return { ...solved, weights, resources: unsent.move() };
  });
  const report: Report = {
    ...layerReport,
    seconds: { read, ...layerReport.seconds, total: (clock() - start) / 1000 },
  };
  return { solution, dtype, weights, report, destroy: () => resources.dispose() };
}

function statisticsRule(parameters: ResolvedParameters, loan: Loan | undefined): StatisticsRule {
  if (loan) return "stored";
  if (parameters.token_weights !== "none") return "inputs";
  return needsStatistics(parameters) ? "required" : "optional";
}

/** A solved layer before it is encoded. The caller frees the solution. */
interface LayerSolution {
  readonly solution: Solution;
  readonly report: LayerReport;
  readonly mayOverflow: boolean;
}

/**
 * Solves `received` and overwrites its tensors, except validation statistics. Stored statistics are not overwritten. If
 * their factor is stored for the same damping and block size, the solve uses this factor. Otherwise the solve uses a
 * copy of the statistics, and a factor that it computes from the copy is stored.
 * @param loan the stored statistics, if the request names some. The layer in `received` then has none of its own
 * @throws the errors of `copyTiled` and `compressLayer`
 */
async function solveReceivedLayer(
  backend: Backend,
  received: ReceivedLayer,
  loan: Loan | undefined,
  parameters: LayerParameters,
  clock: () => number,
): Promise<LayerSolution> {
  const { layer, target, validationTarget } = received;
  const { blocksize } = parameters;
  const key = usesStorableFactor(parameters) ? { damping: parameters.damping, blocksize } : undefined;
  const storedFactor = key && loan?.factor(key);
  const lentValidation = loan?.validation;
  const needsHessian = keepsHessian(parameters, (received.validation ?? lentValidation) !== undefined);
  using copies = new DisposableStack();
  const copyOf = (matrix: TiledMatrix) => copyTiled(backend, matrix, layer.weight.edge);
  const hessianCopy = loan && (!storedFactor || needsHessian) ? copyOf(loan.hessian) : undefined;
  try {
    const validation = lentValidation && lentValidation.edge !== layer.weight.edge
      ? copies.adopt(copyOf(lentValidation), (copy) => copy.destroy())
      : lentValidation ?? received.validation;
    const hessian = received.hessian ?? hessianCopy;
    const operands = { layer, hessian, factor: storedFactor, validation, target, validationTarget };
    const { solution, factor, report, mayOverflow } = await compressLayer(
      backend,
      operands,
      parameters,
      clock,
    );
    const isStored = factor && loan && key;
    if (isStored) loan.store(factor, key);
    else factor?.destroy();
    // A stored factor may lie in the memory of the copy, which is then freed together with the factor.
    if (!isStored || needsHessian) hessianCopy?.destroy();
    return { solution, report, mayOverflow };
  } catch (error) {
    hessianCopy?.destroy();
    throw error;
  }
}
