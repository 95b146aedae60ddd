/** Readable files that exist only in memory. */

import type { ReadableFile } from "../../src/base/files/file_system.ts";
import type { Segment } from "./torch_archive.ts";

/**
 * A file that contains `segments` and is zero everywhere else. Only the segments take memory, so the file may
 * be larger than memory. `longestRead` is the length in bytes of the longest read so far.
 */
export function sparseFile(
  segments: readonly Segment[],
  byteLength: number,
): ReadableFile & { readonly longestRead: number } {
  let longestRead = 0;
  return {
    byteLength,
    get longestRead() {
      return longestRead;
    },
    read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= byteLength)) {
        return Promise.reject(
          new RangeError(`cannot read bytes ${offset}..${offset + length} of a file of ${byteLength} bytes`),
        );
      }
      longestRead = Math.max(longestRead, length);
      const bytes = new Uint8Array(length);
      for (const segment of segments) {
        const begin = Math.max(offset, segment.at);
        const end = Math.min(offset + length, segment.at + segment.bytes.byteLength);
        if (begin < end) {
          bytes.set(segment.bytes.subarray(begin - segment.at, end - segment.at), begin - offset);
        }
      }
      return Promise.resolve(bytes);
    },
    close: () => Promise.resolve(),
  };
}

/** A file with these bytes. */
export function memoryFile(bytes: Uint8Array): ReadableFile & { readonly longestRead: number } {
  return sparseFile([{ at: 0, bytes }], bytes.byteLength);
}
