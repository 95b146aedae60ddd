/**
 * An upper bound for the device memory of one request, from its shape and parameters alone. A request that cannot fit
 * is refused when its header has been read, before any of its data. The bound adds up what the solvers allocate in each
 * phase of a solve. Tests compare it with the measured peaks of every method.
 */

import { type Backend, OutOfDeviceMemoryError } from "../device/backend.ts";
import { CANDIDATES } from "../device/kernels/search_grids.ts";
import { panelWidth } from "../device/tiled_matrix.ts";
import { LARGEST_RETRIED } from "./linalg/factor.ts";
import { gridsPerRow } from "../tensor/quantization.ts";
import { wordsPerRow } from "../tensor/pattern.ts";
import { improvesRounding } from "../protocol/methods.ts";
import {
  choosesDamping,
  keepsHessian,
  type LayerParameters,
  METHOD_SOLVERS,
  usesFactor,
  usesHessian,
} from "./methods.ts";
import { ROUNDING_SWEEPS } from "./solvers/rounding/improve_rounding.ts";
import { READ_BYTES } from "../device/host_memory.ts";
import { sampledRows } from "./validation/row_sample.ts";
import { STRIPS_AT_ONCE } from "./matrix_reader.ts";
import { TARGET_SUMS } from "./target_step.ts";

export interface LayerShape {
  readonly rows: number;
  readonly cols: number;
  /** The number of rows and columns of a tile. */
  readonly edge: number;
  /** Whether the layer has validation statistics. @default false */
  readonly hasValidation?: boolean;
  /** Whether the layer has a validation target. @default false */
  readonly hasValidationTarget?: boolean;
}

/**
 * The size of the largest strip, in bytes. A strip is a few whole rows of a tensor. The tensors of a request or a
 * response are copied through the device strip by strip. A strip of a request exists in up to three forms at once, and
 * one of an answer in two.
 */
const STAGED_STRIP_BYTES: Readonly<Record<Backend["kind"], number>> = {
  cpu: 16 * 2 ** 20,
  webgpu: READ_BYTES.webgpu,
};

/** The bytes of all small buffers together, such as histograms, selections, checks and placeholders. */
const SMALL_BYTES = 2 ** 16;

/**
 * Returns an upper bound for the bytes that a request needs on the device at any time.
 * @param retries whether to count the memory with which a failed factorisation can be retried. `factor` allocates it only
 *   if the device has room for it
 */
export function peakDeviceBytes(
  shape: LayerShape,
  parameters: LayerParameters,
  { kind, maxBufferBytes }: Pick<Backend, "kind" | "maxBufferBytes">,
  retries = true,
): number {
  const { rows, cols, edge, hasValidation = false, hasValidationTarget = false } = shape;
  const { blocksize, damping, effort, method, pattern, refitSteps = 0, quantization, targetStep } =
    parameters;
  const weights = matrixBytes(rows, cols, edge), statistics = upperBytes(cols, edge);
  const mask = 4 * rows * wordsPerRow(cols);
  const blockColumns = Math.min(blocksize, cols);
  const panelOf = (height: number) => 4 * height * panelWidth(height, blocksize, edge, maxBufferBytes);
  const sums = 4 * rows * Math.max(2, 2 * refitSteps) + 16 * (rows + cols);

  // W, the mask of the request, the Hessian and its factor exist during the whole solve.
  const factorBytes = statistics + 4 * cols * blocksize + 8 * cols;
  const factor = usesFactor(parameters) ? factorBytes : 0;
  const hessian = keepsHessian(parameters, hasValidation) || factor === 0 ? statistics : 0;
  const staging = 2 * STRIPS_AT_ONCE * Math.min(STAGED_STRIP_BYTES[kind], 4 * Math.max(rows, cols) * cols) +
    SMALL_BYTES;
  // The validation statistics, the original weights, the change of the weights, and the product that measures it.
  const validation = hasValidation ? statistics + 2 * weights + panelOf(rows) + 4 * (2 * rows + cols) : 0;
  const validationTarget = hasValidationTarget ? weights : 0;
  // The target, the original weights, the sums of each row, and the Hessian that the method may overwrite.
  const isHessianCopied = usesHessian({ ...parameters, targetStep: undefined });
  const target = targetStep === undefined
    ? 0
    : 2 * weights + 4 * TARGET_SUMS.length * rows + (isHessianCopied ? statistics : 0);
  const isDampingChosen = choosesDamping(parameters);
  const shrunk = isDampingChosen && target === 0 ? statistics : 0; // A target has a copy of the Hessian in any case.
  const resident = weights + mask + hessian + shrunk + factor + target + staging + sums + validation +
    validationTarget;
  const isReordered = quantization?.order === "activation", reordered = isReordered ? weights + 2 * mask : 0;
  const bytesPerGrids = quantization ? 8 * gridsPerRow(quantization, cols) : 0;
  const bytesPerSearch = quantization?.groupSize === 0 ? 4 * CANDIDATES : 0; // the errors of the searched grids
  const solution = weights + mask + rows * bytesPerGrids;

  const factoring = panelOf(cols) + (retries && statistics <= LARGEST_RETRIED ? statistics : 0) +
    (isReordered ? statistics : 0);
  // The pass of SparseGPT, with or without rounding.
  const pass = solution + reordered + rows * bytesPerSearch + 2 * 4 * rows * blockColumns + panelOf(rows);
  const refit = 4 * weights;
  const form = panelOf(rows);
  const square = matrixBytes(cols, cols, edge);
  const sizes = {
    pattern,
    rows,
    cols,
    weights,
    mask,
    statistics,
    square,
    solution,
    pass,
    refit,
    form,
    maxBufferBytes,
  };
  const factorScratch = statistics + 4 * cols * blocksize + panelOf(cols);
  const bytes = { ...sizes, factorScratch };
  // The solves of shrunk statistics, with which columns are removed, keep the original weights and the best solution.
  const shrinksColumns = pattern.kind === "columns" && damping === "auto";
  const shrinking = shrinksColumns ? statistics + weights + solution : 0;
  const phases = [factor === 0 ? 0 : factoring, METHOD_SOLVERS[method].peakBytes(bytes) + shrinking];
  const share = targetStep === "auto" || isDampingChosen ? sampledRows(rows) / rows : 0;
  if (targetStep === "auto") {
    // The whole step, and for the sampled rows: weights, the step, the gradient, and the matrices of their losses.
    phases.push(weights + share * (5 * weights + 2 * mask + pass) + form);
  }
  if (isDampingChosen) {
    // The best factor so far and one that is tried, and the sampled rows with the matrices of their losses. The shrunk
    // statistics of the solve do not exist yet.
    const factors = 2 * factorBytes - factor - shrunk;
    phases.push(factors + share * (3 * weights + mask) + Math.max(factoring, share * pass + form));
  }
  // The solution is compared with magnitude and rounding to nearest, and its error on the Hessian is measured again.
  if (hasValidation) {
    phases.push(2 * solution + METHOD_SOLVERS.magnitude.peakBytes(bytes), solution + 2 * weights + form);
  }
  if (refitSteps > 0) phases.push(solution + refit);
  if (quantization && usesHessian(parameters)) {
    // The sweeps after a rounding have a factor of their own, two more matrices, and the sums of the losses.
    const isImproved = improvesRounding(method, effort);
    const sweeps = isImproved ? 2 * weights + factorScratch + 8 * rows * (ROUNDING_SWEEPS + 1) : 0;
    phases.push(solution + 2 * weights + pass + form + sweeps);
  }
  // The loss of a rounded answer is measured in the order of the factor. Rounded weights are copied for it.
  phases.push(solution + Math.max(quantization ? weights : 0, (isReordered ? weights : 0) + form));
  if (targetStep !== undefined) {
    // The step is one matrix, or two if it is computed in another order.
    phases.push(
      weights + (reordered > 0 ? weights : 0) + mask + panelOf(rows),
      solution + mask + form + (quantization ? weights : 0),
    );
  }
  return resident + Math.max(...phases);
}

/**
 * Refuses a layer for which the device has too little memory even if the device holds nothing else. If the backend does
 * not know its memory, no layer is refused here, and a failed allocation is reported during the solve.
 * @throws {OutOfDeviceMemoryError} naming the method, the shape and both sizes
 */
export function checkDeviceBytes(
  backend: Pick<Backend, "kind" | "maxBufferBytes" | "memoryBytes">,
  shape: LayerShape,
  parameters: LayerParameters,
): void {
  if (backend.memoryBytes === undefined) return;
  const needed = peakDeviceBytes(shape, parameters, backend, false);
  if (needed <= backend.memoryBytes) return;
  const mebibytes = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  throw new OutOfDeviceMemoryError(
    `${parameters.method}: a layer of ${shape.rows}×${shape.cols} needs up to ${
      mebibytes(needed)
    } of device memory, ` +
      `but the device has ${mebibytes(backend.memoryBytes)}`,
  );
}

/** Returns the bytes of a matrix in tiles. */
export function matrixBytes(rows: number, cols: number, edge: number): number {
  return 4 * rows * paddedColumns(cols, edge);
}

/** Returns the bytes of a symmetric matrix. Only its tiles on and above the diagonal are stored. */
export function upperBytes(order: number, edge: number): number {
  let bytes = 0;
  for (let row = 0; row < order; row += edge) {
    bytes += 4 * Math.min(edge, order - row) * paddedColumns(order - row, edge);
  }
  return bytes;
}

function paddedColumns(cols: number, edge: number): number {
  const whole = Math.floor(cols / edge);
  return whole * Math.ceil(edge / 4) * 4 + Math.ceil((cols - whole * edge) / 4) * 4;
}
