/**
 * A matrix as a grid of square tiles, each its own device buffer, because one binding cannot hold a large
 * matrix (128 MiB on a software adapter). It allocates, addresses and frees; arithmetic is in `linalg`.
 */

import type { Backend, DeviceBuffer } from "./backend.ts";

/** 4096² f32 are 64 MiB: under every adapter's binding limit, and large enough that a tile fills a GPU. */
export const DEFAULT_TILE_EDGE = 4096;

/** One tile: rows × cols f32, row-major with leading dimension `ld`. */
export interface Tile {
  readonly buffer: DeviceBuffer;
  readonly rows: number;
  readonly cols: number;
  /** Elements between rows: `cols` rounded up to a multiple of 4, so that rows start on 16 bytes. Padding is undefined. */
  readonly ld: number;
  /** The matrix row and column of the tile's first element. */
  readonly row0: number;
  readonly col0: number;
}

/** What {@link TiledMatrix} allocates. */
export interface TiledMatrixOptions {
  readonly label: string;
  readonly rows: number;
  readonly cols: number;
  /** Tile edge in elements; the last tiles are smaller. */
  readonly edge?: number;
  /** `upper` stores tiles on and above the diagonal only (rows = cols); diagonal tiles are whole squares. */
  readonly storage?: "full" | "upper";
}

/** A (rows, cols) f32 matrix on a device. */
export class TiledMatrix {
  readonly label: string;
  readonly rows: number;
  readonly cols: number;
  readonly edge: number;
  readonly storage: "full" | "upper";
  /** Tiles down and across. */
  readonly tileRows: number;
  readonly tileCols: number;
  readonly #tiles: (Tile | undefined)[] = [];

  /** @throws {RangeError} when the device has no room; nothing stays allocated then. */
  constructor(backend: Backend, options: TiledMatrixOptions) {
    const { label, rows, cols, edge = DEFAULT_TILE_EDGE, storage = "full" } = options;
    if (storage === "upper" && rows !== cols) {
      throw new RangeError(`upper storage of ${label}: needs a square matrix, got ${rows}×${cols}`);
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

  /** Tile (i, j). With upper storage i ≤ j. */
  tile(i: number, j: number): Tile {
    const tile = i >= 0 && j >= 0 && i < this.tileRows && j < this.tileCols
      ? this.#tiles[i * this.tileCols + j]
      : undefined;
    if (!tile) throw new RangeError(`tile (${i}, ${j}) of ${this.label} is not stored`);
    return tile;
  }

  /** The stored tiles, row by row. */
  *tiles(): Generator<Tile> {
    for (const tile of this.#tiles) if (tile) yield tile;
  }

  /** Bytes on the device. */
  get byteLength(): number {
    return this.#tiles.reduce((sum, tile) => sum + (tile?.buffer.byteLength ?? 0), 0);
  }

  /** Frees every tile. */
  destroy(): void {
    for (const tile of this.#tiles) tile?.buffer.destroy();
  }
}

/** Uploads a row-major (rows, cols) array into the stored tiles. For tests and small matrices. */
export function writeMatrix(backend: Backend, matrix: TiledMatrix, values: Float32Array): void {
  for (const tile of matrix.tiles()) {
    const block = new Float32Array(tile.rows * tile.ld);
    for (let r = 0; r < tile.rows; r++) {
      const start = (tile.row0 + r) * matrix.cols + tile.col0;
      block.set(values.subarray(start, start + tile.cols), r * tile.ld);
    }
    backend.write(tile.buffer, 0, new Uint8Array(block.buffer));
  }
}

/** Downloads the stored tiles into a row-major (rows, cols) array; what is not stored reads as 0. For tests and small matrices. */
export async function readMatrix(backend: Backend, matrix: TiledMatrix): Promise<Float32Array<ArrayBuffer>> {
  const values = new Float32Array(matrix.rows * matrix.cols);
  for (const tile of matrix.tiles()) {
    const block = new Float32Array((await backend.read(tile.buffer, 0, tile.rows * tile.ld * 4)).buffer);
    for (let r = 0; r < tile.rows; r++) {
      values.set(
        block.subarray(r * tile.ld, r * tile.ld + tile.cols),
        (tile.row0 + r) * matrix.cols + tile.col0,
      );
    }
  }
  return values;
}
