/**
 * Moves a layer to the device: from a request body, which is a safetensors file, or from tensors in host memory. The
 * dtypes and shapes are checked first. Then each tensor is streamed into its sink, which is an object that builds a
 * matrix on the device from the tensor.
 */

import type { Backend } from "../device/backend.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import { openSafetensors } from "../tensor/safetensors/decode.ts";
import type { TensorInfo } from "../tensor/safetensors/header.ts";
import type { TokenWeights } from "./calibration/hessian.ts";
import type { GivenTensors } from "./required_tensors.ts";
import type { Layer } from "./solvers/solver.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import {
  checkHessianTensors,
  checkLayerTensors,
  type Statistics,
  type StatisticsRule,
} from "./body_tensors.ts";
import { HessianSink, PackedHessianSink } from "./sinks/hessian_sink.ts";
import { ingest, type NamedChunk, type TensorSink } from "./sinks/upload.ts";
import { InputsSink } from "./sinks/inputs_sink.ts";
import { MaskSink } from "./sinks/mask_sink.ts";
import { WeightSink } from "./sinks/weight_sink.ts";

export interface ReadOptions {
  readonly totalBytes: number;
  /** The tile edge of the matrices (the number of rows and columns of a tile), a multiple of the block size. */
  readonly edge: number;
}

export interface LayerRules extends Pick<ReadOptions, "edge"> {
  readonly statistics: StatisticsRule;
  /** How much each of the calibration inputs counts. @default "none" */
  readonly tokenWeights?: TokenWeights;
  /**
   * Called before any data is read, with the shape of the weight and the optional tensors that the layer has. It throws
   * if the layer cannot be solved.
   */
  readonly checkShape?: (
    rows: number,
    cols: number,
    has: GivenTensors,
  ) => void;
}

export interface ReceivedLayer {
  readonly rows: number;
  readonly cols: number;
  readonly dtype: FloatDtype;
  readonly layer: Layer;
  /** The statistics H, (cols, cols) f32, upper storage. Undefined if the request has no statistics. */
  readonly hessian: TiledMatrix | undefined;
  /** The validation statistics, in the form of `hessian`. Undefined if the request has none. */
  readonly validation: TiledMatrix | undefined;
  /** T, (rows, cols) f32. Undefined if the request has no target. */
  readonly target: TiledMatrix | undefined;
  /** Tv, in the form of `target`. Undefined if the request has no validation target. */
  readonly validationTarget: TiledMatrix | undefined;
  /** Frees all tensors. Idempotent, also after a solve that has freed some of them. */
  destroy(): void;
}

/**
 * Reads a layer and closes the source. If it throws, nothing stays allocated.
 * @throws {SafetensorsError} {TensorMismatchError} {NonFiniteError} {NotSymmetricError} if the body is invalid
 * @throws {OutOfDeviceMemoryError} {DeviceLostError} and errors of the source and of `checkShape`
 */
export async function readLayer(
  backend: Backend,
  source: AsyncIterable<Uint8Array>,
  options: ReadOptions & LayerRules,
): Promise<ReceivedLayer> {
  const stream = await openSafetensors(source, options);
  try {
    return await receiveLayer(backend, stream.header.tensors, stream.chunks(), options);
  } finally {
    await stream.close();
  }
}

/**
 * Uploads a layer whose tensors are in host memory, named as in a body. If it throws, nothing stays allocated.
 * @throws the errors of `readLayer`, except those of the body and its source
 */
export function uploadLayer(
  backend: Backend,
  tensors: ReadonlyMap<string, HostTensor>,
  rules: LayerRules,
): Promise<ReceivedLayer> {
  const infos = [...tensors].map(([name, { dtype, shape, data }]) => (
    { name, dtype, shape, begin: 0, end: data.byteLength }
  ));
  const chunks = infos.map((tensor) => ({ tensor, bytes: tensors.get(tensor.name)!.data }));
  return receiveLayer(backend, infos, chunks, rules);
}

async function receiveLayer(
  backend: Backend,
  infos: readonly TensorInfo[],
  chunks: AsyncIterable<NamedChunk> | Iterable<NamedChunk>,
  { edge, statistics: rule, tokenWeights, checkShape }: LayerRules,
): Promise<ReceivedLayer> {
  using sinks = new SinkSet();
  const tensors = checkLayerTensors(infos, rule);
  const { rows, cols, statistics, validation } = tensors;
  checkShape?.(rows, cols, {
    mask: tensors.mask !== undefined,
    validation: validation !== undefined,
    target: tensors.target !== undefined,
    validationTarget: tensors.validationTarget !== undefined,
  });
  const weight = sinks.add("weight", new WeightSink(backend, tensors.weight, edge));
  const statisticsSink = statistics &&
    sinks.add(statistics.name, createStatisticsSink(backend, statistics, edge, tokenWeights));
  const validationSink = validation &&
    sinks.add(validation.name, createStatisticsSink(backend, validation, edge));
  const mask = tensors.mask && sinks.add("mask", new MaskSink(backend, rows, cols, tensors.mask.packed));
  const [targetSink, validationTargetSink] = [tensors.target, tensors.validationTarget].map((tensor) =>
    tensor && sinks.add(tensor.name, new WeightSink(backend, tensor, edge))
  );
  await ingest(backend, chunks, sinks.byName);
  const layer: Layer = { weight: weight.take(), forced: mask?.take() };
  const hessian = statisticsSink?.take(), held = validationSink?.take();
  const target = targetSink?.take(), validationTarget = validationTargetSink?.take();
  return {
    rows,
    cols,
    dtype: tensors.weight.dtype,
    layer,
    hessian,
    validation: held,
    target,
    validationTarget,
    destroy() {
      for (const matrix of [hessian, held, target, validationTarget]) matrix?.destroy();
      layer.weight.destroy();
      layer.forced?.bits.destroy();
    },
  };
}

/** The statistics of a layer's inputs, and those of its validation inputs if it has any: (n, n) f32, upper storage. */
export interface ReceivedStatistics {
  readonly hessian: TiledMatrix;
  readonly validation: TiledMatrix | undefined;
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
