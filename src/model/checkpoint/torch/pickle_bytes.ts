/** Reads numbers and texts from the bytes of a pickle, from front to back. `unpickler.ts` interprets them. */

import { ModelError } from "../../../base/files/file_error.ts";

/** The largest length of a line, which holds the name of a module, a class or a function. It bounds the search for the end of the line. */
const MAX_LINE_BYTES = 1024;

/** A cursor over the bytes of a pickle. Every reading method throws a `ModelError` if too few bytes remain. */
export class PickleBytes {
  #at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get position(): number {
    return this.#at;
  }

  uint8(): number {
    return this.#view.getUint8(this.#skip(1));
  }

  uint16(): number {
    return this.#view.getUint16(this.#skip(2), true);
  }

  uint32(): number {
    return this.#view.getUint32(this.#skip(4), true);
  }

  int32(): number {
    return this.#view.getInt32(this.#skip(4), true);
  }

  /** Reads a big-endian number. All other numbers of a pickle are little-endian. */
  float64(): number {
    return this.#view.getFloat64(this.#skip(8), false);
  }

  /** Reads a little-endian two's complement integer. @throws {ModelError} if it is not a safe integer */
  integer(byteLength: number): number {
    const start = this.#skip(byteLength);
    if (byteLength > 8) {
      throw new ModelError(`pickle: has an integer of ${byteLength} bytes at byte ${start}`);
    }
    let bits = 0n;
    for (let i = 0; i < byteLength; i++) bits |= BigInt(this.#bytes[start + i]) << BigInt(8 * i);
    const value = Number(BigInt.asIntN(8 * byteLength, bits));
    if (!Number.isSafeInteger(value)) {
      throw new ModelError(`pickle: has an integer past 2^53 at byte ${start}`);
    }
    return value;
  }

  skip(byteLength: number): void {
    this.#skip(byteLength);
  }

  /** Reads UTF-8 text. @throws {ModelError} if it is not valid UTF-8 */
  text(byteLength: number): string {
    const start = this.#skip(byteLength);
    return this.#decode(start, this.#at);
  }

  /** Reads UTF-8 text up to the next newline, and skips the newline. */
  line(): string {
    const start = this.#at;
    const end = this.#bytes.subarray(start, start + MAX_LINE_BYTES).indexOf(0x0a);
    if (end < 0) {
      throw new ModelError(`pickle: a name at byte ${start} has no end within ${MAX_LINE_BYTES} bytes`);
    }
    this.#at = start + end + 1;
    return this.#decode(start, start + end);
  }

  #decode(start: number, end: number): string {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
        this.#bytes.subarray(start, end),
      );
    } catch (cause) {
      throw new ModelError(`pickle: text at byte ${start} is not valid UTF-8`, { cause });
    }
  }

  /** Advances by `byteLength` bytes and returns the offset before them. */
  #skip(byteLength: number): number {
    const start = this.#at;
    if (byteLength > this.#bytes.byteLength - start) {
      throw new ModelError(
        `pickle: ends at byte ${this.#bytes.byteLength} but needs ${start + byteLength}`,
      );
    }
    this.#at += byteLength;
    return start;
  }
}
