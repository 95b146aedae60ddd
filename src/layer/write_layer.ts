/**
 * Encodes a solution, which is on the device, as the bytes of an answer. The header and the length are known
 * in advance. The data is converted on the device and read back in strips of a few rows, so a layer of any
 * size takes little of the CPU's memory.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import { hasPackedRows, type TiledMatrix } from "../backend/tiled_matrix.ts";
import { DTYPE_CODE, fromFloat32 } from "../kernels/transfer/convert.ts";
import { copySubmatrix, type Submatrix, submatrixOf } from "../linalg/submatrix.ts";
import type { Report } from "../protocol/report.ts";
import { encodeHeader } from "../safetensors/encode.ts";
import type { Solution } from "../solvers/solver.ts";
import { maskRowBytes, wordsPerRow } from "../sparsity/mask_bits.ts";
import { BYTES_PER_ELEMENT, type FloatDtype } from "../tensor/dtype.ts";
import { splitIntoStrips, type Strip } from "./sinks/strips.ts";

/**
 * The largest strip in bytes, counted in f32 before the conversion. On a GPU each read waits for the GPU's
 * queue, so large strips are better. The `cpu` backend copies from its own memory. There small strips are
 * better, because the allocator reuses their memory, and because copying a strip does not delay other
 * requests.
 */
const READ_BYTES: Readonly<Record<Backend["kind"], number>> = { cpu: 2 ** 20, webgpu: 16 * 2 ** 20 };

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

/** Encodes `solution` as a safetensors file with the weights in `dtype` and `report` in its metadata. */
export function encodeAnswer(
  backend: Backend,
  solution: Solution,
  dtype: FloatDtype,
  report: Report,
): Answer {
  const { rows, cols } = solution.q;
  const header = encodeHeader([
    { name: "weight", dtype, shape: [rows, cols] },
    { name: "mask", dtype: "U8", shape: [rows, maskRowBytes(cols)] },
  ], { report: JSON.stringify(report) });
  return {
    byteLength: header.bytes.byteLength + header.dataBytes,
    async *chunks() {
      yield header.bytes;
      yield* weightChunks(backend, solution, dtype);
      yield* maskChunks(backend, solution);
    },
  };
}

async function* weightChunks(
  backend: Backend,
  { q }: Solution,
  dtype: FloatDtype,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const { rows, cols, edge } = q, width = BYTES_PER_ELEMENT[dtype];
  const strips = splitIntoStrips({
    rows,
    rowBytes: 4 * cols,
    boundary: edge,
    stripBytes: READ_BYTES[backend.kind],
  });
  const elements = cols * Math.max(...strips.map((strip) => strip.rows));
  using staging = new DisposableStack();
  const stage = (label: string, byteLength: number) =>
    staging.adopt(backend.createBuffer(label, byteLength), (buffer) => buffer.destroy());
  const contiguous = hasPackedRows(q) ? undefined : stage("strip of the answer in f32", 4 * elements);
  const converted = width < 4 ? stage(`strip of the answer in ${dtype}`, width * elements) : undefined;
  for (const strip of strips) {
    const floats = contiguous ? gatherRows(backend, q, strip, contiguous) : firstRowOf(q, strip);
    const count = strip.rows * cols;
    const source = converted ? convert(backend, floats, converted, dtype, count) : floats;
    const bytes = await backend.read(source.buffer, 4 * source.offset, Math.ceil((width * count) / 4) * 4);
    yield bytes.subarray(0, width * count);
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

/** Queues the conversion of `count` contiguous elements to `dtype`. */
function convert(
  backend: Backend,
  { buffer: source, offset }: Submatrix,
  target: DeviceBuffer,
  dtype: FloatDtype,
  count: number,
): Pick<Submatrix, "buffer" | "offset"> {
  backend.dispatch(fromFloat32, { source, target }, {
    count,
    dtype: DTYPE_CODE[dtype],
    source_offset: offset,
  });
  return { buffer: target, offset: 0 };
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
