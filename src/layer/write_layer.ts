/**
 * Reads a solution back from the device, as the bytes of an answer or as tensors. The header and the length of an
 * answer are known in advance. The data is converted on the device and read back in strips of a few rows, so an answer
 * of any size takes little of the CPU's memory.
 */

import type { Backend, DeviceBuffer } from "../device/backend.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import { DTYPE_CODE, fromFloat32 } from "../device/kernels/transfer/convert.ts";
import { encodeCodes } from "../device/kernels/quantization.ts";
import type { Report } from "../protocol/messages.ts";
import { encodeHeader, type TensorSpec } from "../tensor/safetensors/encode.ts";
import type { QuantizationGrids, Solution } from "./solvers/solver.ts";
import { maskRowBytes, wordsPerRow } from "../tensor/pattern.ts";
import { BYTES_PER_ELEMENT, type FloatDtype, tensorBytes } from "../tensor/dtype.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { freeArray, READ_BYTES, splitIntoStrips } from "../device/host_memory.ts";
import { type Encoding, MatrixReader } from "./matrix_reader.ts";

export interface Answer {
  readonly byteLength: number;
  /** The tensors, which can be read in place of the file. */
  readonly tensors: readonly AnswerTensor[];
  /**
   * Yields the bytes of the file. May be called once. The solution must not be freed before the generator ends.
   * @throws {OutOfDeviceMemoryError} {DeviceLostError}
   */
  chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined>;
}

/**
 * Encodes `solution` as a safetensors file with the weights in `dtype` and `report` in its metadata. If the weights are
 * rounded, the file also has their codes and the scales and zeros of their grids. If whole columns were removed, it has
 * the columns that remain.
 * @param weights reads the weights, without removed columns. A caller that makes the reader itself can queue the first
 *   strip before the report is known
 */
export function encodeAnswer(
  backend: Backend,
  solution: Solution,
  dtype: FloatDtype,
  report: Report,
  weights: MatrixReader = weightReader(backend, solution.q, dtype),
): Answer {
  const tensors = answerTensors(backend, solution, dtype, weights);
  const header = encodeHeader(tensors, { report: JSON.stringify(report) });
  return {
    byteLength: header.bytes.byteLength + header.dataBytes,
    tensors,
    async *chunks() {
      yield header.bytes;
      for (const tensor of tensors) yield* tensor.chunks();
    },
  };
}

/** Reads the tensors of an answer into host memory. @throws {OutOfDeviceMemoryError} {DeviceLostError} */
export async function readTensors(answered: readonly AnswerTensor[]): Promise<Map<string, HostTensor>> {
  const tensors = new Map<string, HostTensor>();
  for (const { name, dtype, shape, chunks } of answered) {
    tensors.set(name, { dtype, shape, data: await joinChunks(chunks(), tensorBytes(dtype, shape)) });
  }
  return tensors;
}

/** Joins chunks of `byteLength` bytes in all, and frees each chunk. */
export async function joinChunks(
  chunks: AsyncIterable<Uint8Array<ArrayBuffer>>,
  byteLength: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const data = new Uint8Array(byteLength);
  let filled = 0;
  for await (const chunk of chunks) {
    data.set(chunk, filled);
    filled += chunk.byteLength;
    freeArray(chunk);
  }
  return data;
}

/** A tensor of an answer, and its bytes, which can be read once. */
interface AnswerTensor extends TensorSpec {
  readonly chunks: () => AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined>;
}

/**
 * The tensors of an answer. Those with elements of 4 bytes come first, so that they are aligned for every dtype of the
 * weights. The mask has all columns, also removed ones.
 */
function answerTensors(
  backend: Backend,
  solution: Solution,
  dtype: FloatDtype,
  weights: MatrixReader,
): AnswerTensor[] {
  const { q, quantized, kept } = solution, { rows, cols } = q;
  const tensors: AnswerTensor[] = [
    ...kept
      ? [{ name: "kept", dtype: "U32" as const, shape: [kept.length], chunks: () => keptChunks(kept) }]
      : [],
    { name: "weight", dtype, shape: [rows, kept?.length ?? cols], chunks: () => weights.chunks() },
    {
      name: "mask",
      dtype: "U8",
      shape: [rows, maskRowBytes(cols)],
      chunks: () => maskChunks(backend, solution),
    },
  ];
  if (!quantized) return tensors;
  const grid = (name: "scales" | "zeros"): AnswerTensor => (
    {
      name,
      dtype: "F32",
      shape: [rows, quantized.groups],
      chunks: () => bufferChunks(backend, quantized[name]),
    }
  );
  const codes = () => new MatrixReader(backend, q, codeEncoding(backend, cols, quantized)).chunks();
  return [grid("scales"), grid("zeros"), ...tensors, {
    name: "codes",
    dtype: "U8",
    shape: [rows, cols],
    chunks: codes,
  }];
}

/** Reads a whole answer from the device. @throws {OutOfDeviceMemoryError} {DeviceLostError} */
export function readWholeAnswer({ chunks, byteLength }: Answer): Promise<Uint8Array<ArrayBuffer>> {
  return joinChunks(chunks(), byteLength);
}

export function weightReader(backend: Backend, q: TiledMatrix, dtype: FloatDtype): MatrixReader {
  return new MatrixReader(backend, q, weightEncoding(backend, dtype));
}

function weightEncoding(backend: Backend, dtype: FloatDtype): Encoding {
  const width = BYTES_PER_ELEMENT[dtype];
  if (width === 4) return { name: dtype, width };
  return {
    name: dtype,
    width,
    encode({ buffer: source, offset }, target, _row0, count) {
      const params = { count, dtype: DTYPE_CODE[dtype], source_offset: offset };
      backend.dispatch(fromFloat32, { source, target }, params);
    },
  };
}

/** The encoding of rounded weights as the codes of their grids. */
function codeEncoding(backend: Backend, cols: number, grids: QuantizationGrids): Encoding {
  const { scales, zeros, groups, groupSize: grid_size } = grids;
  return {
    name: "codes",
    width: 1,
    encode({ buffer: q, offset: q_offset }, codes, row0, count) {
      const params = { count, cols, q_offset, row0, grid_size, grids: groups };
      backend.dispatch(encodeCodes, { q, scales, zeros, codes }, params);
    },
  };
}

async function* bufferChunks(
  backend: Backend,
  buffer: DeviceBuffer,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const step = READ_BYTES[backend.kind];
  for (let start = 0; start < buffer.byteLength; start += step) {
    yield await backend.read(buffer, start, Math.min(step, buffer.byteLength - start));
  }
}

async function* keptChunks(
  kept: Uint32Array<ArrayBuffer>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  yield await Promise.resolve(new Uint8Array(kept.slice().buffer));
}

/** Yields the mask. Each row is padded to whole 32-bit words on the device, and to whole bytes in the file. */
async function* maskChunks(
  backend: Backend,
  { q, mask }: Solution,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const rowBytes = maskRowBytes(q.cols), wordBytes = 4 * wordsPerRow(q.cols);
  const strips = splitIntoStrips({ rows: q.rows, rowBytes: wordBytes, stripBytes: READ_BYTES[backend.kind] });
  for (const { row0, rows } of strips) {
    const words = await backend.read(mask, row0 * wordBytes, rows * wordBytes);
    if (rowBytes === wordBytes) {
      yield words;
      continue;
    }
    const bytes = new Uint8Array(rows * rowBytes);
    for (let r = 0; r < rows; r++) {
      bytes.set(words.subarray(r * wordBytes, r * wordBytes + rowBytes), r * rowBytes);
    }
    yield bytes;
  }
}
