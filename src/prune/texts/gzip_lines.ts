/** Reads the lines of a gzip file one after another, so that the file may be much larger than memory. */

import { Buffer } from "node:buffer";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import type { FileSystem, ReadableFile } from "../../base/files/file_system.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { messageOf } from "../../base/errors.ts";

/** The number of bytes that are read from the file at a time. */
const READ_BYTES = 2 ** 20;

/** The number of bytes that are unzipped at a time. */
const UNZIPPED_BYTES = 2 ** 18;

/** The longest accepted line in bytes. The longest documents of C4 have less than 1 MB. */
const MAX_LINE_BYTES = 2 ** 26;

const NEWLINE = 0x0a;

/**
 * Yields the lines of a file that gzip has compressed, without their newlines. The bytes of a line are valid until the next line is read.
 * A caller that leaves the loop early stops the reading.
 * @throws {ModelError} if the file is not in the format of gzip, or if a line has more than 64 MiB
 */
export async function* gzipLines(fs: FileSystem, path: string): AsyncGenerator<Uint8Array, void, void> {
  const file = await fs.open(path);
  const source = Readable.from(chunksOf(file)),
    unzipped = source.pipe(createGunzip({ chunkSize: UNZIPPED_BYTES }));
  source.on("error", (error) => unzipped.destroy(error));
  /** The parts of the line that has no newline yet. */
  let parts: Uint8Array[] = [], length = 0;
  const takeLine = (end: Uint8Array): Uint8Array => {
    const line = parts.length === 0 ? end : Buffer.concat([...parts, end]);
    parts = [];
    length = 0;
    return line;
  };
  try {
    for await (const chunk of unzipped as AsyncIterable<Uint8Array>) {
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        yield takeLine(chunk.subarray(start, end));
        start = end + 1;
      }
      if (start === chunk.length) continue;
      parts.push(chunk.subarray(start));
      length += chunk.length - start;
      if (length > MAX_LINE_BYTES) {
        throw new ModelError(`${path}: has a line of more than ${MAX_LINE_BYTES} bytes`);
      }
    }
    if (length > 0) yield takeLine(new Uint8Array());
  } catch (error) {
    if (!isZlibError(error)) throw error;
    throw new ModelError(`${path}: is not a complete gzip file: ${messageOf(error)}`, { cause: error });
  } finally {
    source.destroy();
    unzipped.destroy();
    await file.close();
  }
}

async function* chunksOf(file: ReadableFile): AsyncGenerator<Uint8Array, void, void> {
  for (let at = 0; at < file.byteLength; at += READ_BYTES) {
    yield await file.read(at, Math.min(READ_BYTES, file.byteLength - at));
  }
}

/** Whether zlib found a fault in the data. */
function isZlibError(error: unknown): boolean {
  return error instanceof Error && "code" in error && /^(Z_|ERR_)/.test(String(error.code));
}
