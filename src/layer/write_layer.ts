/**
 * From a solution on the device to the bytes of an answer. The header, and so the length, is known beforehand; the data is converted
 * on the device and read back strip by strip, so that host memory stays small whatever the layer's size.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import { DTYPE_CODE, fromFloat32 } from "../kernels/convert.ts";
import { copySubmatrix } from "../linalg/copy_submatrix.ts";
import { type Submatrix, submatrixOf } from "../linalg/submatrix.ts";
import type { Report } from "../protocol/report.ts";
import { encodeHeader } from "../safetensors/encode.ts";
import type { Solution } from "../solvers/solver.ts";
import { BYTES_PER_ELEMENT, type FloatDtype } from "../tensor/dtype.ts";
import { hasPackedRows } from "./packed_rows.ts";
import { cutStrips, type Strip } from "./sinks/strips.ts";

/**
 * Bytes read back at a time, as f32. A GPU's queue is waited for each time, which this many hide. The `cpu` backend's memory is at hand:
 * the fewer the better, until an array for them comes from pages used before, and copying them no longer holds up other requests.
 */
const READ_BYTES: Readonly<Record<Backend["kind"], number>> = { cpu: 2 ** 20, webgpu: 16 * 2 ** 20 };

/** An answer about to be sent. */
export interface Answer {
  /** Length of the whole file. */
  readonly byteLength: number;
  /** The file, once. The solution must live until it ends. @throws {RangeError} {DeviceLostError} */
  chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined>;
}

/** The file that carries `solution`, its weights in `dtype`, and `report` as metadata. */
export function encodeAnswer(
  backend: Backend,
  solution: Solution,
  dtype: FloatDtype,
  report: Report,
): Answer {
  const { rows, cols } = solution.q;
  const header = encodeHeader([
    { name: "weight", dtype, shape: [rows, cols] },
    { name: "mask", dtype: "U8", shape: [rows, Math.ceil(cols / 8)] },
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
  const strips = cutStrips({
    rows,
    rowBytes: 4 * cols,
    boundary: edge,
    stripBytes: READ_BYTES[backend.kind],
  });
  const elements = cols * Math.max(...strips.map((strip) => strip.rows));
  using staging = new DisposableStack();
  const stage = (label: string, byteLength: number) =>
    staging.adopt(backend.createBuffer(label, byteLength), (buffer) => buffer.destroy());
  const wide = hasPackedRows(q) ? undefined : stage("strip of the answer in f32", 4 * elements);
  const narrow = width < 4 ? stage(`strip of the answer in ${dtype}`, width * elements) : undefined;
  for (const strip of strips) {
    const floats = wide ? gather(backend, q, strip, wide) : firstOf(q, strip);
    const count = strip.rows * cols;
    const source = narrow ? convert(backend, floats, narrow, dtype, count) : floats;
    const bytes = await backend.read(source.buffer, 4 * source.offset, Math.ceil((width * count) / 4) * 4);
    yield bytes.subarray(0, width * count);
  }
}

/** Where a strip's rows begin in the first tile across. */
function firstOf(q: TiledMatrix, { row0 }: Strip): Submatrix {
  return submatrixOf(q.tile(Math.floor(row0 / q.edge), 0), row0, 0);
}

/** Rows of tiles → contiguous rows. */
function gather(backend: Backend, q: TiledMatrix, { row0, rows }: Strip, target: DeviceBuffer): Submatrix {
  const i = Math.floor(row0 / q.edge);
  for (let j = 0; j < q.tileCols; j++) {
    const tile = q.tile(i, j);
    const into = { buffer: target, offset: tile.col0, ld: q.cols };
    copySubmatrix(backend, submatrixOf(tile, row0, tile.col0), into, rows, tile.cols);
  }
  return { buffer: target, offset: 0, ld: q.cols };
}

/** `count` contiguous elements → the same in `dtype`. */
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

/** Rows of 32-bit words → rows of bytes: the same bytes, less the last word's unused ones. */
async function* maskChunks(
  backend: Backend,
  { q, mask }: Solution,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const rowBytes = Math.ceil(q.cols / 8), wordBytes = Math.ceil(q.cols / 32) * 4;
  const strips = cutStrips({ rows: q.rows, rowBytes: wordBytes, stripBytes: READ_BYTES[backend.kind] });
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
