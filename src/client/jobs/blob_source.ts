/** The bytes of an upload, which may be larger than memory. */

/** Bytes that can be read in ranges, any number of times. A `Blob` has this interface, and a file can be wrapped in it. */
export interface BlobSource {
  /** Length in bytes. */
  readonly size: number;
  /** Returns the bytes from `start` up to `end`, exclusive. */
  slice(start: number, end: number): Blob | Promise<Blob>;
}
