/**
 * Reads a request's bytes into a layer on the device: opens the safetensors file, checks its tensors, and streams each tensor into its
 * sink.
 */

import type { Backend } from "../backend/backend.ts";
import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import { openSafetensors, type SafetensorsStream } from "../safetensors/decode.ts";
import type { Layer } from "../solvers/solver.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import {
  checkHessianTensors,
  checkLayerTensors,
  type Statistics,
  type StatisticsRule,
} from "./body_tensors.ts";
import { HessianSink, PackedHessianSink } from "./sinks/hessian_sink.ts";
import { ingest } from "./sinks/ingest.ts";
import { InputsSink } from "./sinks/inputs_sink.ts";
import { MaskSink } from "./sinks/mask_sink.ts";
import type { TensorSink } from "./sinks/tensor_sink.ts";
import { WeightSink } from "./sinks/weight_sink.ts";

/** How a body is read. */
export interface ReadOptions {
  /** The length of the whole body. */
  readonly totalBytes: number;
  /** The tile edge of the matrices, a multiple of the block size. */
  readonly edge: number;
}

/** A layer that was read from a body, on the device. */
export interface ReceivedLayer {
  readonly rows: number;
  readonly cols: number;
  /** The dtype of the weight in the body. */
  readonly dtype: FloatDtype;
  readonly layer: Layer;
  /** (cols, cols) f32, upper storage, or undefined if the body has no statistics. */
  readonly hessian: TiledMatrix | undefined;
  /** Frees everything. It may be called after a solve, which frees some of it, and more than once. */
  destroy(): void;
}

/**
 * Reads a layer and closes the source. If it throws, nothing stays allocated.
 * @throws {SafetensorsError} {TensorMismatchError} {NonFiniteError} {NotSymmetricError} if the body is invalid
 * @throws {OutOfDeviceMemoryError} {DeviceLostError} and errors of the source
 */
export async function readLayer(
  backend: Backend,
  source: AsyncIterable<Uint8Array>,
  options: ReadOptions & { readonly statistics: StatisticsRule },
): Promise<ReceivedLayer> {
  const { edge, totalBytes } = options;
  const stream = await openSafetensors(source, { totalBytes });
  return await withSinks(stream, async (sinks) => {
    const tensors = checkLayerTensors(stream.header.tensors, options.statistics);
    const { rows, cols, statistics } = tensors;
    const weight = new WeightSink(backend, tensors.weight, edge);
    sinks.set("weight", weight);
    const sums = statistics && statisticsSink(backend, statistics, edge);
    if (sums) sinks.set(statistics.name, sums);
    const mask = tensors.mask && new MaskSink(backend, rows, cols, tensors.mask.packed);
    if (mask) sinks.set("mask", mask);
    await ingest(backend, stream, sinks);
    const layer: Layer = { weight: weight.take(), forced: mask?.take() };
    const hessian = sums?.take();
    return {
      rows,
      cols,
      dtype: tensors.weight.dtype,
      layer,
      hessian,
      destroy() {
        hessian?.destroy();
        layer.weight.destroy();
        layer.forced?.bits.destroy();
      },
    };
  });
}

/** Reads a body that holds only a Hessian. Otherwise as `readLayer`. */
export async function readHessian(
  backend: Backend,
  source: AsyncIterable<Uint8Array>,
  { totalBytes, edge }: ReadOptions,
): Promise<TiledMatrix> {
  const stream = await openSafetensors(source, { totalBytes });
  return await withSinks(stream, async (sinks) => {
    const statistics = checkHessianTensors(stream.header.tensors);
    const sink = statisticsSink(backend, statistics, edge);
    sinks.set(statistics.name, sink);
    await ingest(backend, stream, sinks);
    return sink.take();
  });
}

type StatisticsSink = HessianSink | PackedHessianSink | InputsSink;

function statisticsSink(backend: Backend, statistics: Statistics, edge: number): StatisticsSink {
  switch (statistics.name) {
    case "hessian":
      return new HessianSink(backend, statistics.order, edge);
    case "hessian_upper":
      return new PackedHessianSink(backend, statistics.order, edge);
    case "inputs":
      return new InputsSink(backend, statistics.tensor, edge);
  }
}

/** Calls `body` with an empty map for sinks. However `body` ends, the sinks in the map are destroyed and the source is closed. */
async function withSinks<T>(
  stream: SafetensorsStream,
  body: (sinks: Map<string, TensorSink>) => Promise<T>,
): Promise<T> {
  const sinks = new Map<string, TensorSink>();
  try {
    return await body(sinks);
  } finally {
    for (const sink of sinks.values()) sink.destroy();
    await stream.close();
  }
}
