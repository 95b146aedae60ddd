/**
 * Encodes a solution, which is on the device, as the bytes of an answer. The header and the length are known
 * in advance. The data is converted on the device and read back in strips of a few rows, so a layer of any
 * size takes little of the CPU's memory.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import { hasPackedRows, type TiledMatrix } from "../backend/tiled_matrix.ts";
import { DTYPE_CODE, fromFloat32 } from "../kernels/transfer/convert.ts";
import { encodeCodes } from "../kernels/quantization.ts";
import { copySubmatrix, type Submatrix, submatrixOf } from "../linalg/submatrix.ts";
import type { Report } from "../protocol/report.ts";
import { encodeHeader, type TensorSpec } from "../safetensors/encode.ts";
import type { QuantizationGrids, Solution } from "../solvers/solver.ts";
import { maskRowBytes, wordsPerRow } from "../sparsity/mask_bits.ts";
import { BYTES_PER_ELEMENT, type FloatDtype } from "../tensor/dtype.ts";
import { splitIntoStrips, type Strip } from "./sinks/strips.ts";

/**
 * The largest strip in bytes, counted in f32 before the conversion. On a GPU each read waits for the GPU's
 * queue, so large strips are better. The `cpu` backend copies from its own memory. There small strips are
 * better, because the allocator reuses their memory, and because copying a strip does not delay other
 * requests.
 */
export const READ_BYTES: Readonly<Record<Backend["kind"], number>> = { cpu: 2 ** 20, webgpu: 16 * 2 ** 20 };

/** An answer that is ready to be sent. */
export interface Answer {
  /** The length of the whole file, in bytes. */
  readonly byteLength: number;
  /**
   * Yields the bytes of the file. The method may be called once. The solution must not be freed before the
   * generator ends.
   * @throws {OutOfDeviceMemoryError} {DeviceLostError}
   */
  chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined>;
}

/**
 * Encodes `solution` as a safetensors file with the weights in `dtype` and `report` in its metadata. If the
 * weights are rounded, the file also has their codes and the scales and zeros of their grids.
 */
export function encodeAnswer(
  backend: Backend,
  solution: Solution,
  dtype: FloatDtype,
  report: Report,
): Answer {
  const { rows, cols } = solution.q, { quantized } = solution;
  // The elements of 4 bytes come first, so that they are aligned for every dtype of the weights.
  const grids: TensorSpec[] = quantized
    ? ["scales", "zeros"].map((name) => ({ name, dtype: "F32", shape: [rows, quantized.groups] }))
    : [];
  const codes: TensorSpec[] = quantized ? [{ name: "codes", dtype: "U8", shape: [rows, cols] }] : [];
  const header = encodeHeader([
    ...grids,
    { name: "weight", dtype, shape: [rows, cols] },
    { name: "mask", dtype: "U8", shape: [rows, maskRowBytes(cols)] },
    ...codes,
  ], { report: JSON.stringify(report) });
  return {
    byteLength: header.bytes.byteLength + header.dataBytes,
    async *chunks() {
      yield header.bytes;
      if (quantized) {
        yield* bufferChunks(backend, quantized.scales);
        yield* bufferChunks(backend, quantized.zeros);
      }
      yield* matrixChunks(backend, solution.q, weightEncoding(backend, dtype));
      yield* maskChunks(backend, solution);
      if (quantized) {
        yield* matrixChunks(backend, solution.q, codeEncoding(backend, solution.q.cols, quantized));
      }
    },
  };
}

/** How the elements of a matrix are written to the file. */
interface Encoding {
  /** The name of the encoding, for the labels of buffers. */
  readonly name: string;
  /** The bytes of an element in the file. */
  readonly width: number;
  /**
   * Queues encoding `count` elements of whole rows, from row `row0` on. The elements begin at `floats`,
   * without gaps. Undefined if the file has the f32 elements as they are.
   */
  readonly encode?: (floats: Submatrix, target: DeviceBuffer, row0: number, count: number) => void;
}

/** The encoding of the weights in `dtype`. */
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

/** Yields the elements of `q` row by row. */
async function* matrixChunks(
  backend: Backend,
  q: TiledMatrix,
  { name, width, encode }: Encoding,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const { rows, cols, edge } = q;
  const strips = [...splitIntoStrips({
    rows,
    rowBytes: 4 * cols,
    boundary: edge,
    stripBytes: READ_BYTES[backend.kind],
  })];
  const elements = cols * Math.max(...strips.map((strip) => strip.rows));
  using staging = new DisposableStack();
  const stage = (label: string, byteLength: number) =>
    staging.adopt(backend.createBuffer(label, byteLength), (buffer) => buffer.destroy());
  const contiguous = hasPackedRows(q) ? undefined : stage("strip of the answer in f32", 4 * elements);
  const encoded = encode && stage(`strip of the answer in ${name}`, width * elements);
  for (const strip of strips) {
    const floats = contiguous ? gatherRows(backend, q, strip, contiguous) : firstRowOf(q, strip);
    const count = strip.rows * cols;
    if (encoded) encode(floats, encoded, strip.row0, count);
    const source = encoded ? { buffer: encoded, offset: 0 } : floats;
    const bytes = await backend.read(source.buffer, 4 * source.offset, Math.ceil((width * count) / 4) * 4);
    yield bytes.subarray(0, width * count);
  }
}

/** Yields the contents of a buffer. */
async function* bufferChunks(
  backend: Backend,
  buffer: DeviceBuffer,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const step = READ_BYTES[backend.kind];
  for (let start = 0; start < buffer.byteLength; start += step) {
    yield await backend.read(buffer, start, Math.min(step, buffer.byteLength - start));
  }
}

/** Returns the position of a strip's first row, in a matrix that is one tile wide. */
function firstRowOf(q: TiledMatrix, { row0 }: Strip): Submatrix {
  return submatrixOf(q.tile(Math.floor(row0 / q.edge), 0), row0, 0);
}

/**
 * Queues copying a strip's rows to `target`, without gaps. Each row is put together from all tiles of its
 * tile row.
 */
function gatherRows(
  backend: Backend,
  q: TiledMatrix,
  { row0, rows }: Strip,
  target: DeviceBuffer,
): Submatrix {
  const i = Math.floor(row0 / q.edge);
  for (let j = 0; j < q.tileCols; j++) {
    const tile = q.tile(i, j);
    const into = { buffer: target, offset: tile.col0, ld: q.cols };
    copySubmatrix(backend, submatrixOf(tile, row0, tile.col0), into, rows, tile.cols);
  }
  return { buffer: target, offset: 0, ld: q.cols };
}

/**
 * Yields the mask. On the device each row is padded to whole 32-bit words. In the file each row is padded to
 * whole bytes.
 */
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
