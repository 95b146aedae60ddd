/**
 * Cuts the rows of a tensor into strips of a few megabytes, and assembles each strip in one host buffer from chunks of any size. Because
 * the buffer is reused, a body of any size takes little host memory.
 */

/** The size of a strip: large enough that queueing costs little compared with copying, and small enough for every cache. */
export const STRIP_BYTES = 4 * 2 ** 20;

/** Consecutive whole rows of a tensor. */
export interface Strip {
  readonly row0: number;
  readonly rows: number;
  readonly byteLength: number;
}

/** How rows are cut into strips. */
export interface StripRules {
  readonly rows: number;
  /** The bytes of every row, or a function from a row to its bytes. */
  readonly rowBytes: number | ((row: number) => number);
  /** No strip crosses a multiple of this number of rows. */
  readonly boundary?: number;
  readonly stripBytes?: number;
}

/** Cuts rows into strips, from first to last. A row longer than `stripBytes` is a strip of its own. */
export function cutStrips(rules: StripRules): Strip[] {
  const { rows, boundary = Infinity, stripBytes = STRIP_BYTES } = rules;
  const rowBytes = typeof rules.rowBytes === "number" ? () => rules.rowBytes as number : rules.rowBytes;
  const strips: Strip[] = [];
  for (let row0 = 0; row0 < rows;) {
    const last = Math.min(rows, boundary === Infinity ? rows : (Math.floor(row0 / boundary) + 1) * boundary);
    let row = row0, byteLength = 0;
    do byteLength += rowBytes(row++); while (row < last && byteLength + rowBytes(row) <= stripBytes);
    strips.push({ row0, rows: row - row0, byteLength });
    row0 = row;
  }
  return strips;
}

/** Assembles strips from chunks. */
export class StripAssembler {
  readonly #strips: readonly Strip[];
  readonly #buffer: Uint8Array<ArrayBuffer>;
  #current = 0;
  #filled = 0;

  /** @param buffer at least `stripBufferBytes(strips)` long. Tensors that are read one after the other may share it */
  constructor(strips: readonly Strip[], buffer: Uint8Array<ArrayBuffer>) {
    this.#strips = strips;
    this.#buffer = buffer;
  }

  /**
   * Takes the next bytes of the tensor and yields each strip that they complete. The bytes of a strip are padded with zeros to a multiple
   * of 4, and are overwritten by the next strip.
   */
  *push(bytes: Uint8Array): Generator<{ strip: Strip; bytes: Uint8Array<ArrayBuffer> }> {
    for (let taken = 0; taken < bytes.byteLength;) {
      const strip = this.#strips[this.#current];
      const part = bytes.subarray(taken, taken + strip.byteLength - this.#filled);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.byteLength;
      taken += part.byteLength;
      if (this.#filled < strip.byteLength) return;
      const padded = roundUp4(strip.byteLength);
      this.#buffer.fill(0, strip.byteLength, padded);
      this.#current++;
      this.#filled = 0;
      yield { strip, bytes: this.#buffer.subarray(0, padded) };
    }
  }
}

/** The buffer size that the largest of `strips` needs, padding included. */
export function stripBufferBytes(strips: readonly Strip[]): number {
  return strips.reduce((most, { byteLength }) => Math.max(most, roundUp4(byteLength)), 0);
}

function roundUp4(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
