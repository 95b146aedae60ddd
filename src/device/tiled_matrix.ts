/**
 * A matrix on a device as a grid of square tiles, each in a buffer of its own, because a kernel cannot bind a buffer as
 * large as the largest matrices. Software adapters bind at most 128 MiB. The arithmetic is in `src/layer/linalg/`, whose
 * README defines tiles, panels and blocks. The functions at the end divide the columns of a matrix into them.
 */

import type { Backend, DeviceBuffer } from "./backend.ts";
import { MAX_BLOCK_SIZE } from "./kernels/column_loop.ts";

/**
 * The default number of rows and columns of a tile. A tile of 4096² f32 takes 64 MiB, which is under every adapter's
 * limit for a binding, and is large enough to keep a whole GPU busy.
 */
export const DEFAULT_TILE_EDGE = 4096;

/**
 * The largest tile edge. A tile of 16384² f32 takes 1 GiB. A layer of OPT-175B with 12288 inputs and outputs is then
 * one tile, and one dispatch handles all its rows.
 */
const MAX_TILE_EDGE = 16384;

/** The tile edge on a CPU, which is as fast with small tiles. Fewer elements below the diagonal are then stored with `upper`. */
const CPU_TILE_EDGE = 1024;

/**
 * Returns the tile edge for matrices on a backend. On a GPU it is the largest power of two from `DEFAULT_TILE_EDGE` to
 * `MAX_TILE_EDGE` with which a tile fits in one buffer. On a software adapter, larger tiles would not be faster than the default.
 */
export function tileEdgeOn(
  { kind, adapter, maxBufferBytes }: Pick<Backend, "kind" | "adapter" | "maxBufferBytes">,
): number {
  if (kind === "cpu") return CPU_TILE_EDGE;
  let edge = DEFAULT_TILE_EDGE;
  if (adapter.software) return edge;
  while (edge < MAX_TILE_EDGE && 4 * (2 * edge) ** 2 <= maxBufferBytes) edge *= 2;
  return edge;
}

/** One tile: (rows, cols) f32, row-major with leading dimension `ld`. */
export interface Tile {
  readonly buffer: DeviceBuffer;
  readonly rows: number;
  readonly cols: number;
  /**
   * The distance between the starts of two rows, in elements. It is `cols` rounded up to a multiple of 4, so that every
   * row starts on a boundary of 16 bytes. The padding has undefined contents.
   */
  readonly ld: number;
  /** The matrix row and column of the tile's first element. */
  readonly row0: number;
  readonly col0: number;
}

interface TiledMatrixOptions {
  readonly label: string;
  readonly rows: number;
  readonly cols: number;
  /** The tile edge. The tiles at the right and lower borders may be smaller. @default DEFAULT_TILE_EDGE */
  readonly edge?: number;
  /**
   * With `upper`, which needs a square matrix, only the tiles on and above the diagonal are stored, as whole squares.
   * @default "full"
   */
  readonly storage?: "full" | "upper";
}

/** A (rows, cols) f32 matrix on a device. Its contents are undefined until they are written. */
export class TiledMatrix {
  readonly label: string;
  readonly rows: number;
  readonly cols: number;
  readonly edge: number;
  readonly storage: "full" | "upper";
  readonly tileRows: number;
  readonly tileCols: number;
  readonly #tiles: (Tile | undefined)[] = [];

  /**
   * @throws {OutOfDeviceMemoryError} if a tile cannot be allocated. The tiles allocated before it are freed.
   * @throws {RangeError} if the storage is `upper` and the matrix is not square
   */
  constructor(backend: Backend, options: TiledMatrixOptions) {
    const { label, rows, cols, edge = DEFAULT_TILE_EDGE, storage = "full" } = options;
    if (storage === "upper" && rows !== cols) {
      throw new RangeError(`upper storage of ${label}: the matrix must be square, got ${rows}×${cols}`);
    }
    this.label = label;
    this.rows = rows;
    this.cols = cols;
    this.edge = edge;
    this.storage = storage;
    this.tileRows = Math.ceil(rows / edge);
    this.tileCols = Math.ceil(cols / edge);
    try {
      for (let i = 0; i < this.tileRows; i++) {
        for (let j = 0; j < this.tileCols; j++) {
          this.#tiles.push(storage === "upper" && i > j ? undefined : this.#allocate(backend, i, j));
        }
      }
    } catch (error) {
      this.destroy();
      throw error;
    }
  }

  #allocate(backend: Backend, i: number, j: number): Tile {
    const row0 = i * this.edge, col0 = j * this.edge;
    const rows = Math.min(this.edge, this.rows - row0);
    const cols = Math.min(this.edge, this.cols - col0);
    const ld = Math.ceil(cols / 4) * 4;
    return {
      buffer: backend.createBuffer(`${this.label}[${i},${j}]`, rows * ld * 4),
      rows,
      cols,
      ld,
      row0,
      col0,
    };
  }

  /** Returns the tile in row `i` and column `j` of the grid. @throws {RangeError} if it is not stored */
  tile(i: number, j: number): Tile {
    const tile = i >= 0 && j >= 0 && i < this.tileRows && j < this.tileCols
      ? this.#tiles[i * this.tileCols + j]
      : undefined;
    if (!tile) throw new RangeError(`tile (${i}, ${j}) of ${this.label} is not stored`);
    return tile;
  }

  /** Yields the stored tiles, one row of the grid after the other. */
  *tiles(): Generator<Tile> {
    for (const tile of this.#tiles) if (tile) yield tile;
  }

  get byteLength(): number {
    return this.#tiles.reduce((sum, tile) => sum + (tile?.buffer.byteLength ?? 0), 0);
  }

  destroy(): void {
    for (const tile of this.#tiles) tile?.buffer.destroy();
  }
}

/** Queues writing a row-major (rows, cols) array to the stored tiles. Meant for tests and small matrices. */
export function writeMatrix(backend: Backend, matrix: TiledMatrix, values: Float32Array): void {
  for (const tile of matrix.tiles()) {
    const padded = new Float32Array(tile.rows * tile.ld);
    for (let r = 0; r < tile.rows; r++) {
      const start = (tile.row0 + r) * matrix.cols + tile.col0;
      padded.set(values.subarray(start, start + tile.cols), r * tile.ld);
    }
    backend.write(tile.buffer, 0, new Uint8Array(padded.buffer));
  }
}

/** Reads the stored tiles into a row-major array, with 0 for the others. Meant for tests and small matrices. */
export async function readMatrix(backend: Backend, matrix: TiledMatrix): Promise<Float32Array<ArrayBuffer>> {
  const values = new Float32Array(matrix.rows * matrix.cols);
  for (const tile of matrix.tiles()) {
    const padded = new Float32Array((await backend.read(tile.buffer, 0, tile.rows * tile.ld * 4)).buffer);
    for (let r = 0; r < tile.rows; r++) {
      values.set(
        padded.subarray(r * tile.ld, r * tile.ld + tile.cols),
        (tile.row0 + r) * matrix.cols + tile.col0,
      );
    }
  }
  return values;
}

/**
 * Whether every tile holds whole rows of the matrix without gaps, as a file does. If not, the kernel `copy2d` must
 * split rows into tiles when they are written, and gather them from tiles when they are read.
 */
export function hasPackedRows(matrix: TiledMatrix): boolean {
  return matrix.tileCols === 1 && matrix.tile(0, 0).ld === matrix.cols;
}

/** The indices i with start ≤ i < end. */
export interface IndexRange {
  readonly start: number;
  readonly end: number;
}

/** Splits `whole` into consecutive ranges of `step` indices. The last range may be shorter. */
export function* splitRange(whole: IndexRange, step: number): Generator<IndexRange> {
  for (let start = whole.start; start < whole.end; start += step) {
    yield { start, end: Math.min(start + step, whole.end) };
  }
}

export function* splitIntoPanels(cols: number, edge: number, width: number): Generator<IndexRange> {
  for (const tile of splitRange({ start: 0, end: cols }, edge)) yield* splitRange(tile, width);
}

/**
 * The largest width of a panel, in columns. A product reads its left operand once per panel, so wide panels save
 * traffic. A panel of the tallest layer of OPT-175B is (49152, 512) f32, or 96 MiB, and every adapter can bind 128 MiB.
 */
const MAX_PANEL_WIDTH = 512;

/** The largest width if tiles are above the default edge, as on GPUs. Twice as many workgroups keep a GPU busy. */
const MAX_WIDE_PANEL_WIDTH = 1024;

/**
 * Returns the largest multiple of `blocksize` that is at most `edge`, so that a tile consists of whole blocks. Returns
 * `blocksize` if `edge` is smaller.
 * @throws {RangeError} if `blocksize` is not an integer from 1 to MAX_BLOCK_SIZE
 */
export function tileEdgeFor(blocksize: number, edge: number = DEFAULT_TILE_EDGE): number {
  checkBlockSize(blocksize);
  return Math.max(1, Math.floor(edge / blocksize)) * blocksize;
}

/**
 * Returns the width of a panel of `rows` rows, in columns. It is a multiple of `blocksize`, at most `edge`, and the
 * panel fits in one buffer. If not even one block fits, the width is one block, and allocating the panel throws
 * OutOfDeviceMemoryError.
 */
export function panelWidth(
  rows: number,
  blocksize: number,
  edge: number,
  maxBufferBytes: number,
): number {
  const widest = edge > DEFAULT_TILE_EDGE ? MAX_WIDE_PANEL_WIDTH : MAX_PANEL_WIDTH;
  const width = Math.min(widest, edge, Math.floor(maxBufferBytes / (4 * rows)));
  return Math.max(1, Math.floor(width / blocksize)) * blocksize;
}

/** @throws {RangeError} naming `what` if `blocksize` is not from 1 to MAX_BLOCK_SIZE, or does not divide `edge` */
export function checkBlocking(what: string, edge: number, blocksize: number): void {
  checkBlockSize(blocksize);
  if (edge % blocksize !== 0) {
    throw new RangeError(
      `${what}: the tile edge ${edge} must be a multiple of the block size ${blocksize}; tileEdgeFor() computes such an edge`,
    );
  }
}

function checkBlockSize(blocksize: number): void {
  if (!Number.isInteger(blocksize) || blocksize < 1 || blocksize > MAX_BLOCK_SIZE) {
    throw new RangeError(`block size ${blocksize}: must be an integer from 1 to ${MAX_BLOCK_SIZE}`);
  }
}
