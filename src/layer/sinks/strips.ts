/**
 * Strips are the pieces in which a tensor is moved between the CPU's memory and the device. A strip is a few
 * consecutive whole rows, usually a few megabytes. `splitIntoStrips` computes the strips of a tensor one after the
 * other. `StripAssembler` builds each strip from the chunks of a request body, which can have any size.
 */

/** The default size of a strip. Queueing it costs little beside copying it, and it fits in the processor's cache. */
const DEFAULT_STRIP_BYTES = 4 * 2 ** 20;

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

export interface StripMemory {
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export class StripAssembler {
  readonly #strips: Iterator<Strip>;
  readonly #isChanged: boolean;
  #strip: Strip | undefined;
  #filledBytes = 0;

  /**
   * @param memory the memory for one strip, at least `stripBufferBytes(rules)` bytes. Tensors that are read one after
   *   the other may share it
   */
  constructor(rules: StripRules, private readonly memory: StripMemory) {
    this.#strips = splitIntoStrips(rules);
    this.#isChanged = rules.isChanged ?? false;
  }

  /**
   * Adds the next bytes of the tensor and yields each strip that they complete, padded with zeros to a multiple of 4
   * bytes. A strip is a view of `bytes` if all of it lies there and it needs no padding and is not changed in place.
   * Otherwise it is a view of `StripMemory.bytes`, which the caller may replace before it resumes the iteration. A
   * strip is valid until the iteration is resumed.
   */
  *push(bytes: Uint8Array): Generator<{ strip: Strip; bytes: Uint8Array }> {
    for (let copied = 0; copied < bytes.byteLength;) {
      const strip = this.#strip ??= this.#nextStrip();
      const buffer = this.memory.bytes;
      const part = bytes.subarray(copied, copied + strip.byteLength - this.#filledBytes);
      if (!this.#isChanged && part.byteLength === strip.byteLength && strip.byteLength % 4 === 0) {
        copied += part.byteLength;
        this.#strip = undefined;
        yield { strip, bytes: part };
        continue;
      }
      buffer.set(part, this.#filledBytes);
      this.#filledBytes += part.byteLength;
      copied += part.byteLength;
      if (this.#filledBytes < strip.byteLength) return;
      const padded = roundUp4(strip.byteLength);
      buffer.fill(0, strip.byteLength, padded);
      this.#strip = undefined;
      this.#filledBytes = 0;
      yield { strip, bytes: buffer.subarray(0, padded) };
    }
  }

  #nextStrip(): Strip {
    const { done, value } = this.#strips.next();
    if (done) throw new TypeError("strips: the tensor has more bytes than its rows");
    return value;
  }
}

/**
 * Returns the buffer size in bytes that the largest strip needs, padding included. For rows of different lengths the
 * result is an upper bound, and the first row must be the longest.
 */
export function stripBufferBytes(
  { rows, rowBytes, boundary = Infinity, stripBytes = DEFAULT_STRIP_BYTES }: StripRules,
): number {
  if (rows === 0) return 0;
  const longestRow = typeof rowBytes === "number" ? rowBytes : rowBytes(0);
  const rowsPerStrip = Math.min(rows, boundary, Math.max(1, Math.floor(stripBytes / longestRow)));
  const largest = typeof rowBytes === "number"
    ? rowsPerStrip * rowBytes
    : Math.min(Math.max(stripBytes, longestRow), longestRow * Math.min(rows, boundary));
  return roundUp4(largest);
}

function roundUp4(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
