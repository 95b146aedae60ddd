/**
 * The memory of the host, the CPU's, through which bytes move to and from a device. A tensor moves in _strips_ of a few
 * consecutive whole rows, usually a few megabytes. The strips of a long upload are assembled in this memory. If the backend lends memory, each piece is assembled in lent memory, which `write` takes without
 * copying it. Otherwise all pieces share one array, because `write` copies each piece at once.
 */

import type { Backend, DeviceBuffer, HostMemory } from "./backend.ts";

/** Without lent memory and staging memory, an upload waits for the device after this many bytes. */
const BACKPRESSURE_BYTES = 128 * 2 ** 20;

export class UploadMemory implements Disposable {
  readonly #byteLength: number;
  #memory: HostMemory;
  #writtenBytes = 0;

  private constructor(private readonly backend: Backend, memory: HostMemory) {
    this.#byteLength = memory.bytes.byteLength;
    this.#memory = memory;
  }

  /** Opens memory for pieces of at most `byteLength` bytes. @throws {DeviceLostError} */
  static async open(backend: Backend, byteLength: number): Promise<UploadMemory> {
    const memory = await backend.borrowMemory?.(byteLength) ??
      { bytes: new Uint8Array(byteLength), release: () => {} };
    return new UploadMemory(backend, memory);
  }

  /** The memory for the next piece. It is valid until {@link next}. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#memory.bytes;
  }

  /**
   * Makes room for another piece, after a piece of `writtenBytes` bytes was written. Waits while earlier pieces occupy
   * too much memory.
   * @throws {DeviceLostError} {Error} the first error of earlier work, if this call had to wait for the device
   */
  async next(writtenBytes: number): Promise<void> {
    const backend = this.backend;
    if (backend.borrowMemory) {
      this.#memory.release(); // This has no effect if a write took the memory.
      this.#memory = await backend.borrowMemory(this.#byteLength);
    } else if (backend.stagingRoom) {
      await backend.stagingRoom(writtenBytes);
    } else {
      this.#writtenBytes += writtenBytes;
      if (this.#writtenBytes < BACKPRESSURE_BYTES) return;
      this.#writtenBytes = 0;
      await backend.finish();
    }
  }

  [Symbol.dispose](): void {
    this.#memory.release();
  }
}

/** Creates a buffer with the elements of `values`. The caller frees it. @throws {OutOfDeviceMemoryError} */
export function createBufferOf(
  backend: Backend,
  label: string,
  values: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>,
): DeviceBuffer {
  const buffer = backend.createBuffer(label, values.byteLength);
  backend.write(buffer, 0, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return buffer;
}

/**
 * The size of one read of a long range. On a GPU each read waits for the queue, so large reads are better. On the CPU
 * small reads are better, because the allocator reuses their memory and a short copy does not delay other requests.
 */
export const READ_BYTES: Readonly<Record<Backend["kind"], number>> = { cpu: 2 ** 20, webgpu: 64 * 2 ** 20 };

/**
 * Frees the memory of `bytes`, whose length is 0 afterwards. A thread that creates few objects collects its garbage
 * rarely, so without this call the arrays of many layers would occupy memory at the same time.
 */
export function freeArray(bytes: Uint8Array<ArrayBuffer>): void {
  bytes.buffer.transfer(0);
}

/** The default size of a strip. Queueing it costs little beside copying it, and it fits in the processor's cache. */
export const DEFAULT_STRIP_BYTES = 4 * 2 ** 20;

export interface Strip {
  readonly row0: number;
  readonly rows: number;
  readonly byteLength: number;
}

export interface StripRules {
  readonly rows: number;
  /** The number of bytes of every row, or a function that returns the number of bytes of a row. */
  readonly rowBytes: number | ((row: number) => number);
  /** The tile edge or another number of rows. A strip ends at every multiple of it. @default Infinity */
  readonly boundary?: number;
  /** The largest strip in bytes. @default DEFAULT_STRIP_BYTES */
  readonly stripBytes?: number;
  /** Whether the receiver changes the bytes of the strips. The assembler then passes copies of them. @default false */
  readonly isChanged?: boolean;
}

/**
 * Yields the strips of the rows, in order. A row longer than `stripBytes` is a strip of its own. A strip is computed
 * when it is requested, because a request can announce far more rows than it sends.
 */
export function* splitIntoStrips(rules: StripRules): Generator<Strip, void, undefined> {
  const { rows, boundary = Infinity } = rules;
  for (let row0 = 0; row0 < rows;) {
    const end = boundary === Infinity ? rows : Math.min(rows, (Math.floor(row0 / boundary) + 1) * boundary);
    const strip = firstStrip(rules, row0, end);
    yield strip;
    row0 += strip.rows;
  }
}

/** Returns the strip that begins at `row0` and contains no row from `end` on. */
function firstStrip(
  { rowBytes, stripBytes = DEFAULT_STRIP_BYTES }: StripRules,
  row0: number,
  end: number,
): Strip {
  if (typeof rowBytes === "number") {
    const rows = Math.min(end - row0, Math.max(1, Math.floor(stripBytes / rowBytes)));
    return { row0, rows, byteLength: rows * rowBytes };
  }
  let row = row0, byteLength = 0;
  do byteLength += rowBytes(row++); while (row < end && byteLength + rowBytes(row) <= stripBytes);
  return { row0, rows: row - row0, byteLength };
}
