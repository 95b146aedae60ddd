/**
 * From a solution on the device to the bytes of an answer. The header, and so the length, is known beforehand; the data is converted
 * on the device and read back strip by strip, so that host memory stays small whatever the layer's size.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import { DTYPE_CODE, fromFloat32 } from "../kernels/convert.ts";
import { copyBlock } from "../linalg/copy_block.ts";
import { blockOf } from "../linalg/gemm.ts";
import type { Report } from "../protocol/report.ts";
import { encodeHeader } from "../safetensors/encode.ts";
import type { Solution } from "../solvers/solver.ts";
import { BYTES_PER_ELEMENT, type FloatDtype } from "../tensor/dtype.ts";
import { cutStrips, type Strip } from "./strips.ts";

/** Bytes read back at a time: each waits for the device once, which this many hide. */
const READ_BYTES = 16 * 2 ** 20;

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
  const strips = cutStrips({ rows, rowBytes: 4 * cols, boundary: edge, stripBytes: READ_BYTES });
  const elements = cols * Math.max(...strips.map((strip) => strip.rows));
  const wide = backend.createBuffer("strip of the answer in f32", 4 * elements);
  let narrow: DeviceBuffer | undefined;
  try {
    if (width < 4) narrow = backend.createBuffer(`strip of the answer in ${dtype}`, width * elements);
    for (const strip of strips) {
      gather(backend, q, strip, wide);
      const count = strip.rows * cols;
      if (narrow) {
        backend.dispatch(fromFloat32, { source: wide, target: narrow }, {
          count,
          dtype: DTYPE_CODE[dtype],
          source_offset: 0,
        });
      }
      const bytes = await backend.read(narrow ?? wide, 0, Math.ceil((width * count) / 4) * 4);
      yield bytes.subarray(0, width * count);
    }
  } finally {
    wide.destroy();
    narrow?.destroy();
  }
}

/** Rows of tiles → contiguous rows. */
function gather(backend: Backend, q: Solution["q"], { row0, rows }: Strip, target: DeviceBuffer): void {
  const i = Math.floor(row0 / q.edge);
  for (let j = 0; j < q.tileCols; j++) {
    const tile = q.tile(i, j);
    const into = { buffer: target, offset: tile.col0, ld: q.cols };
    copyBlock(backend, blockOf(tile, row0, tile.col0), into, rows, tile.cols);
  }
}

/** Rows of 32-bit words → rows of bytes: the same bytes, less the last word's unused ones. */
async function* maskChunks(
  backend: Backend,
  { q, mask }: Solution,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const rowBytes = Math.ceil(q.cols / 8), wordBytes = Math.ceil(q.cols / 32) * 4;
  for (const { row0, rows } of cutStrips({ rows: q.rows, rowBytes: wordBytes, stripBytes: READ_BYTES })) {
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
