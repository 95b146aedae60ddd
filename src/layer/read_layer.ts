/**
 * Moves a layer to the device: from a request body, which is a safetensors file, or from tensors in host memory. The
 * dtypes and shapes are checked first. Then each tensor is streamed into its sink, which is an object that builds a
 * matrix on the device from the tensor.
 */

import type { Backend } from "../device/backend.ts";
import { ResourceSet } from "../device/owned.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import { DEFAULT_TARGET_STEP } from "../protocol/limits.ts";
import type { ResolvedParameters } from "../protocol/parameters.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { openSafetensors } from "../tensor/safetensors/decode.ts";
import type { TensorInfo } from "../tensor/safetensors/header.ts";
import {
  checkHessianTensors,
  checkLayerTensors,
  requireTensors,
  type Statistics,
  type StatisticsRule,
} from "./body_tensors.ts";
import type { TokenWeights } from "./calibration/hessian.ts";
import { checkDeviceBytes } from "./device_bytes.ts";
import { copyTiled } from "./linalg/tile_arithmetic.ts";
import type { Loan } from "./loan.ts";
import { type LayerOperands, type LayerParameters, METHOD_SOLVERS, needsStatistics } from "./methods.ts";
import { HessianSink, InputsSink, PackedHessianSink, WeightSink } from "./sinks/matrix_sinks.ts";
import { ingest, type NamedChunk, type TensorSink } from "./sinks/upload.ts";
import { MaskSink } from "./sinks/mask_sink.ts";

/** A layer that is to be solved. The matrices on the device are those that no loan has, and the call frees them. */
interface LayerInput {
  readonly parameters: ResolvedParameters;
  /** The statistics that the layer borrows, if it shares them with other layers. The caller returns the loan. */
  readonly loan?: Loan;
  /** The statistics, (cols, cols) f32, upper storage. The call overwrites this matrix. */
  readonly hessian?: TiledMatrix;
  /** The validation statistics, in the form of `hessian`. */
  readonly validation?: TiledMatrix;
  /** The target T, (rows, cols) f32. The call overwrites this matrix. */
  readonly target?: TiledMatrix;
  /** The validation target, in the form of `target`. The call overwrites this matrix. */
  readonly validationTarget?: TiledMatrix;
}

/** A layer whose tensors are in a request body. */
export interface BodyRequest extends LayerInput {
  /** The bytes of the body, a safetensors file. They are read once. */
  readonly source: AsyncIterable<Uint8Array>;
  readonly totalBytes: number;
}

/** A layer whose tensors are in host memory, named as in a body. */
export interface TensorsRequest extends LayerInput {
  readonly tensors: ReadonlyMap<string, HostTensor>;
}

export type LayerRequest = BodyRequest | TensorsRequest;

export interface ReceivedLayer {
  readonly operands: LayerOperands;
  /** The parameters of the solve, some of which depend on the tensors. */
  readonly parameters: LayerParameters & { readonly answerDtype: FloatDtype };
  /** Frees the operands. Idempotent, also after a solve that has freed some of them. */
  destroy(): void;
}

/**
 * Reads a layer and closes the source. A layer that cannot be solved is refused before any data is read. If the call
 * throws, nothing stays allocated.
 * @param edge the tile edge of the matrices (the number of rows and columns of a tile), a multiple of the block size
 * @throws {SafetensorsError} {Refusal} if the tensors are invalid
 * @throws {LayerSizeError} if the method cannot solve a layer of this size
 * @throws {OutOfDeviceMemoryError} {DeviceLostError} and errors of the source
 */
export async function readLayer(
  backend: Backend,
  request: LayerRequest,
  edge: number,
): Promise<ReceivedLayer> {
  const { parameters: given, loan } = request;
  using owned = new ResourceSet(), sinks = new SinkSet();
  const onDevice = (matrix: TiledMatrix | undefined) => {
    if (!matrix || owned.add(matrix).edge === edge) return matrix;
    const copy = owned.add(copyTiled(backend, matrix, edge));
    matrix.destroy();
    return copy;
  };
  const [hessian, validation, target, validationTarget] = [
    request.hessian,
    request.validation,
    request.target,
    request.validationTarget,
  ].map(onDevice);
  const file = "source" in request
    ? await openSafetensors(request.source, request)
    : tensorsInMemory(request.tensors);
  try {
    const tensors = checkLayerTensors(file.header.tensors, statisticsRule(request));
    const { rows, cols, weight } = tensors;
    const has = {
      mask: tensors.mask !== undefined,
      validation: (tensors.validation ?? validation ?? loan?.validation) !== undefined,
      target: (tensors.target ?? target) !== undefined,
      validationTarget: (tensors.validationTarget ?? validationTarget) !== undefined,
    };
    const parameters = {
      ...given,
      sparsity: given.prunesMaskOnly && has.mask ? 0 : given.sparsity,
      targetStep: has.target ? given.target_step ?? DEFAULT_TARGET_STEP : undefined,
      answerDtype: given.dtype === "same" ? weight.dtype : given.dtype,
    };
    METHOD_SOLVERS[given.method].checkShape?.(rows, cols, given.pattern);
    requireTensors(parameters, rows, cols, has, given.target_step !== undefined, loan?.hessian.cols);
    const shape = {
      rows,
      cols,
      edge,
      hasValidation: has.validation,
      hasValidationTarget: has.validationTarget,
    };
    checkDeviceBytes(backend, shape, parameters);

    const matrixOf = (tensor: typeof weight | undefined) =>
      tensor && sinks.add(tensor.name, new WeightSink(backend, tensor, edge));
    const statisticsOf = (tensor: Statistics | undefined, tokenWeights?: TokenWeights) =>
      tensor && sinks.add(tensor.name, createStatisticsSink(backend, tensor, edge, tokenWeights));
    const weightSink = matrixOf(weight)!;
    const hessianSink = statisticsOf(tensors.statistics, given.token_weights);
    const validationSink = statisticsOf(tensors.validation);
    const maskSink = tensors.mask &&
      sinks.add("mask", new MaskSink(backend, rows, cols, tensors.mask.packed));
    const targetSink = matrixOf(tensors.target), validationTargetSink = matrixOf(tensors.validationTarget);
    await ingest(backend, file.chunks(), sinks.byName);
    const take = (sink: TensorSink<TiledMatrix> | undefined) => sink && owned.add(sink.take());
    const forced = maskSink?.take();
    if (forced) owned.add(forced.bits);
    const operands = {
      layer: { weight: take(weightSink)!, forced },
      hessian: hessian ?? take(hessianSink),
      validation: validation ?? take(validationSink),
      target: target ?? take(targetSink),
      validationTarget: validationTarget ?? take(validationTargetSink),
    };
    const received = owned.move();
    return { operands, parameters, destroy: () => received.destroy() };
  } finally {
    await file.close();
  }
}

/** Presents tensors in host memory as an open file. */
function tensorsInMemory(tensors: ReadonlyMap<string, HostTensor>) {
  const infos: TensorInfo[] = [...tensors].map(([name, { dtype, shape, data }]) => (
    { name, dtype, shape, begin: 0, end: data.byteLength }
  ));
  const chunks = (): Iterable<NamedChunk> =>
    infos.map((tensor) => ({ tensor, bytes: tensors.get(tensor.name)!.data }));
  return { header: { tensors: infos }, chunks, close: () => Promise.resolve() };
}

function statisticsRule({ parameters, loan, hessian }: LayerRequest): StatisticsRule {
  if (loan || hessian) return "stored";
  if (parameters.token_weights !== "none") return "inputs";
  return needsStatistics(parameters) ? "required" : "optional";
}

/** The statistics of a layer's inputs, and of its validation inputs if it has any: (n, n) f32, upper storage. */
export interface ReceivedStatistics {
  readonly hessian: TiledMatrix;
  readonly validation: TiledMatrix | undefined;
}

export interface ReadOptions {
  readonly totalBytes: number;
  /** The tile edge of the matrices. */
  readonly edge: number;
}

/**
 * Reads a body that holds statistics and nothing else, and closes the source. If it throws, nothing stays allocated.
 * @returns the matrices, which the caller frees
 * @throws the errors of `readLayer`
 */
export async function readStatistics(
  backend: Backend,
  source: AsyncIterable<Uint8Array>,
  { totalBytes, edge }: ReadOptions,
): Promise<ReceivedStatistics> {
  const stream = await openSafetensors(source, { totalBytes });
  try {
    using sinks = new SinkSet();
    const { statistics, validation } = checkHessianTensors(stream.header.tensors);
    const sink = sinks.add(statistics.name, createStatisticsSink(backend, statistics, edge));
    const validationSink = validation &&
      sinks.add(validation.name, createStatisticsSink(backend, validation, edge));
    await ingest(backend, stream.chunks(), sinks.byName);
    return { hessian: sink.take(), validation: validationSink?.take() };
  } finally {
    await stream.close();
  }
}

function createStatisticsSink(
  backend: Backend,
  statistics: Statistics,
  edge: number,
  tokenWeights?: TokenWeights,
): TensorSink<TiledMatrix> {
  switch (statistics.name) {
    case "hessian":
    case "validation_hessian":
      return new HessianSink(backend, statistics.order, edge, statistics.name);
    case "hessian_upper":
    case "validation_hessian_upper":
      return new PackedHessianSink(backend, statistics.order, edge, statistics.name);
    case "inputs":
      return new InputsSink(backend, statistics.tensor, edge, tokenWeights);
  }
}

/** The sinks of a file by the names of their tensors. Disposing of the set destroys the sinks. */
class SinkSet implements Disposable {
  readonly byName = new Map<string, TensorSink<unknown>>();

  add<Sink extends TensorSink<unknown>>(name: string, sink: Sink): Sink {
    this.byName.set(name, sink);
    return sink;
  }

  [Symbol.dispose](): void {
    for (const sink of this.byName.values()) sink.destroy();
  }
}
