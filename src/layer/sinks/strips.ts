/**
 * Strips are the pieces in which a tensor is moved between the CPU's memory and the device. A strip is a few
 * consecutive whole rows, usually a few megabytes. `splitIntoStrips` plans the strips of a tensor.
 * `StripAssembler` builds each strip from the chunks of a request body, which can have any size. All strips
 * of a body share one buffer, so a body of any size takes little of the CPU's memory.
 */

/**
 * The default size of a strip. It is so large that queueing costs little compared with copying, and so small
 * that a strip fits in the processor's cache.
 */
const DEFAULT_STRIP_BYTES = 4 * 2 ** 20;

/** Consecutive whole rows of a tensor. */
export interface Strip {
  readonly row0: number;
  readonly rows: number;
  readonly byteLength: number;
}

/** The rows of a tensor, and the rules by which they are split. */
export interface StripRules {
  readonly rows: number;
  /** The number of bytes of every row, or a function that returns the number of bytes of a row. */
  readonly rowBytes: number | ((row: number) => number);
  /**
   * A number of rows such as the tile edge. A strip ends at every multiple of this number, so that it lies in
   * one tile row.
   * @default Infinity
   */
  readonly boundary?: number;
  /**
   * The largest strip in bytes.
   * @default DEFAULT_STRIP_BYTES
   */
  readonly stripBytes?: number;
}

/** Splits rows into strips, in order. A row longer than `stripBytes` is a strip of its own. */
export function splitIntoStrips(rules: StripRules): Strip[] {
  const { rows, boundary = Infinity, stripBytes = DEFAULT_STRIP_BYTES } = rules;
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

/** Assembles the strips of one tensor from the chunks of a body. */
export class StripAssembler {
  readonly #strips: readonly Strip[];
  readonly #buffer: Uint8Array<ArrayBuffer>;
  #stripIndex = 0;
  #filledBytes = 0;

  /**
   * @param buffer the memory for one strip, at least `stripBufferBytes(strips)` bytes. Tensors that are read
   *   one after the other may share the buffer
   */
  constructor(strips: readonly Strip[], buffer: Uint8Array<ArrayBuffer>) {
    this.#strips = strips;
    this.#buffer = buffer;
  }

  /**
   * Adds the next bytes of the tensor and yields each strip that they complete. The bytes of a strip are
   * padded with zeros to a multiple of 4, and are valid until the next strip.
   */
  *push(bytes: Uint8Array): Generator<{ strip: Strip; bytes: Uint8Array<ArrayBuffer> }> {
    for (let copied = 0; copied < bytes.byteLength;) {
      const strip = this.#strips[this.#stripIndex];
      const part = bytes.subarray(copied, copied + strip.byteLength - this.#filledBytes);
      this.#buffer.set(part, this.#filledBytes);
      this.#filledBytes += part.byteLength;
      copied += part.byteLength;
      if (this.#filledBytes < strip.byteLength) return;
      const padded = roundUp4(strip.byteLength);
      this.#buffer.fill(0, strip.byteLength, padded);
      this.#stripIndex++;
      this.#filledBytes = 0;
      yield { strip, bytes: this.#buffer.subarray(0, padded) };
    }
  }
}

/** Returns the buffer size in bytes that the largest of `strips` needs, padding included. */
export function stripBufferBytes(strips: readonly Strip[]): number {
  return strips.reduce((maximum, { byteLength }) => Math.max(maximum, roundUp4(byteLength)), 0);
}

function roundUp4(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
