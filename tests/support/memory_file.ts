/** Read-only files in memory that record the longest read. */

import type { ReadableFile } from "../../src/files/file_system.ts";
import type { Segment } from "./torch_archive.ts";

/** Makes a file of `byteLength` bytes that are 0 outside of `segments`. It may be far larger than memory. */
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
          new RangeError(`bytes ${offset}..${offset + length} of a file of ${byteLength}`),
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

/** Makes a file from its bytes. */
export function memoryFile(bytes: Uint8Array): ReadableFile & { readonly longestRead: number } {
  return sparseFile([{ at: 0, bytes }], bytes.byteLength);
}
