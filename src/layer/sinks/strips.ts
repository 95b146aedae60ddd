/**
 * Cuts a tensor's rows into strips of a few megabytes, and fills one host buffer with each in turn from chunks
 * that arrive in whatever sizes they like. This is all the host memory a body takes, whatever its size.
 */

/** Bytes of a strip: large enough that queueing it costs nothing beside moving it, small enough for every cache. */
export const STRIP_BYTES = 4 * 2 ** 20;

/** Some consecutive whole rows. */
export interface Strip {
  readonly row0: number;
  readonly rows: number;
  readonly byteLength: number;
}

/** How rows are to be cut. */
export interface StripRules {
  readonly rows: number;
  /** Bytes of a row: the same for all, or by row. */
  readonly rowBytes: number | ((row: number) => number);
  /** No strip crosses a multiple of this many rows. */
  readonly boundary?: number;
  readonly stripBytes?: number;
}

/** The strips, first to last. A row over `stripBytes` is a strip of its own. */
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

/** Gathers chunks into strips. */
export class StripAssembler {
  readonly #strips: readonly Strip[];
  readonly #buffer: Uint8Array<ArrayBuffer>;
  #current = 0;
  #filled = 0;

  /** `buffer` is at least `stripBufferBytes(strips)` long and may be shared by tensors that are read in turn. */
  constructor(strips: readonly Strip[], buffer: Uint8Array<ArrayBuffer>) {
    this.#strips = strips;
    this.#buffer = buffer;
  }

  /**
   * Takes the tensor's next bytes and yields each strip they complete, with its bytes padded by zeros to a multiple of 4. The bytes
   * are overwritten by the next strip.
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

/** The host bytes that any of `strips` needs, its padding included. */
export function stripBufferBytes(strips: readonly Strip[]): number {
  return strips.reduce((most, { byteLength }) => Math.max(most, roundUp4(byteLength)), 0);
}

function roundUp4(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
