/**
 * Reads a matrix back from the device, row by row, in the encoding of the answer. The device encodes a strip of a few rows at a time. It
 * encodes the next strip while the bytes of the last one are sent, so that a read rarely waits.
 */

import type { Backend, DeviceBuffer } from "../device/backend.ts";
import { READ_BYTES, splitIntoStrips, type Strip } from "../device/host_memory.ts";
import { hasPackedRows, type TiledMatrix } from "../device/tiled_matrix.ts";
import { copySubmatrix, type Submatrix, submatrixOf } from "./linalg/tile_arithmetic.ts";

/** A matrix of at most this many bytes is one strip, because a wait for the device costs more than the copy of a small strip. */
const ONE_STRIP_BYTES = 4 * 2 ** 20;

/**
 * Whether the read of a strip starts before the bytes of the last one are taken. A GPU then copies while these bytes are sent. The `cpu`
 * backend copies when the read starts, so it would only use more memory.
 */
const READS_AHEAD: Readonly<Record<Backend["kind"], boolean>> = { cpu: false, webgpu: true };

/** The number of strips whose encoded elements are on the device at once. */
export const STRIPS_AT_ONCE = 2;

/** How the elements of a matrix are written to the file. */
export interface Encoding {
  readonly name: string;
  readonly width: number;
  /**
   * Queues encoding `count` elements of whole rows, from row `row0` on. The elements begin at `floats` and have no gaps. Undefined if the
   * file has the f32 elements as they are.
   */
  readonly encode?: (floats: Submatrix, target: DeviceBuffer, row0: number, count: number) => void;
}

/** The buffers of one strip on the device. */
interface Staging {
  /** The rows in f32, unless the rows of the matrix itself have no gaps. */
  readonly contiguous?: DeviceBuffer;
  /** The encoded elements, unless the file has the f32 elements as they are. */
  readonly encoded?: DeviceBuffer;
}

/** Reads one matrix, once. The matrix must exist until the last chunk was read. */
export class MatrixReader implements Disposable {
  readonly #strips: readonly Strip[];
  readonly #buffers = new DisposableStack();
  /** The buffers of the strips, which take turns. */
  readonly #stagings: Staging[] = [];
  #queued = 0;

  constructor(
    private readonly backend: Backend,
    private readonly matrix: TiledMatrix,
    private readonly encoding: Encoding,
  ) {
    const { rows, cols, edge } = matrix;
    const stripBytes = 4 * rows * cols <= ONE_STRIP_BYTES ? ONE_STRIP_BYTES : READ_BYTES[backend.kind];
    // Rows without gaps are encoded where they are, so a GPU never holds their strips in f32.
    const isEncodedOnly = backend.kind === "webgpu" && hasPackedRows(matrix);
    const rowBytes = (isEncodedOnly ? encoding.width : 4) * cols;
    this.#strips = [...splitIntoStrips({ rows, rowBytes, boundary: edge, stripBytes })];
  }

  /**
   * Queues encoding the first strip. A caller that waits for the device anyway calls this before it waits.
   * @throws {OutOfDeviceMemoryError}
   */
  prepare(): void {
    if (this.#queued === 0) this.#queueTo(0);
  }

  /**
   * Yields the encoded elements row by row, and then frees the buffers. The method may be called once.
   * @throws {OutOfDeviceMemoryError} {DeviceLostError}
   */
  async *chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    using _reader = this;
    let ahead: Promise<Uint8Array<ArrayBuffer>> | undefined;
    for (let index = 0; index < this.#strips.length; index++) {
      const bytes = ahead ?? this.#read(index);
      ahead = undefined;
      if (READS_AHEAD[this.backend.kind] && index + 1 < this.#strips.length) {
        ahead = this.#read(index + 1);
        ahead.catch(() => {}); // Its error is thrown when its bytes are taken, unless the caller stops before.
      }
      yield await bytes;
    }
  }

  async #read(index: number): Promise<Uint8Array<ArrayBuffer>> {
    // The next strip is queued first, so that the device encodes it while this one is sent.
    this.#queueTo(index + 1);
    const byteLength = this.encoding.width * this.#strips[index].rows * this.matrix.cols;
    const { buffer, offset } = this.#encodedStrip(index);
    const bytes = await this.backend.read(buffer, 4 * offset, Math.ceil(byteLength / 4) * 4);
    return bytes.subarray(0, byteLength);
  }

  /** Frees the buffers. Idempotent. */
  [Symbol.dispose](): void {
    this.#buffers.dispose();
  }

  /** Queues encoding all strips up to the strip `last`, as far as they were not queued before. */
  #queueTo(last: number): void {
    for (; this.#queued <= last && this.#queued < this.#strips.length; this.#queued++) {
      this.#queue(this.#queued);
    }
  }

  #queue(index: number): void {
    const strip = this.#strips[index], { contiguous, encoded } = this.#staging(index);
    if (contiguous) gatherRows(this.backend, this.matrix, strip, contiguous);
    if (encoded) {
      this.encoding.encode!(this.#floats(index), encoded, strip.row0, strip.rows * this.matrix.cols);
    }
  }

  /** Returns the position of a strip's encoded elements. */
  #encodedStrip(index: number): Pick<Submatrix, "buffer" | "offset"> {
    const { encoded } = this.#staging(index);
    return encoded ? { buffer: encoded, offset: 0 } : this.#floats(index);
  }

  /** Returns the position of a strip's rows in f32, which have no gaps. */
  #floats(index: number): Submatrix {
    const { contiguous } = this.#staging(index), matrix = this.matrix;
    if (contiguous) return { buffer: contiguous, offset: 0, ld: matrix.cols };
    const { row0 } = this.#strips[index];
    return submatrixOf(matrix.tile(Math.floor(row0 / matrix.edge), 0), row0, 0);
  }

  #staging(index: number): Staging {
    return this.#stagings[index % STRIPS_AT_ONCE] ??= this.#createStaging();
  }

  #createStaging(): Staging {
    const elements = this.matrix.cols * Math.max(...this.#strips.map(({ rows }) => rows));
    const create = (form: string, byteLength: number) =>
      this.#buffers.adopt(
        this.backend.createBuffer(`strip of the answer in ${form}`, byteLength),
        (buffer) => buffer.destroy(),
      );
    const { name, width, encode } = this.encoding;
    return {
      contiguous: hasPackedRows(this.matrix) ? undefined : create("f32", 4 * elements),
      encoded: encode && create(name, width * elements),
    };
  }
}

/** Queues copying a strip's rows to `target`, without gaps. Each row is put together from all tiles of its tile row. */
function gatherRows(
  backend: Backend,
  matrix: TiledMatrix,
  { row0, rows }: Strip,
  target: DeviceBuffer,
): void {
  const i = Math.floor(row0 / matrix.edge);
  for (let j = 0; j < matrix.tileCols; j++) {
    const tile = matrix.tile(i, j);
    const into = { buffer: target, offset: tile.col0, ld: matrix.cols };
    copySubmatrix(backend, submatrixOf(tile, row0, tile.col0), into, rows, tile.cols);
  }
}
