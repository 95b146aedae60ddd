/** Copies a range of bytes in chunks, so that a tensor or file of any size needs only one chunk of memory. */

/** The length of a chunk. */
const COPY_CHUNK_BYTES = 16 << 20;

/**
 * Copies the bytes from 0 to `byteLength`. Each chunk is read, then written at the same offset.
 *
 * @param read reads `length` bytes at `offset` of the source
 * @param write writes `bytes` at `offset` of the target
 * @param signal is checked before every chunk
 * @throws the reason of `signal` if it is aborted, and any error of `read` and `write`
 */
export async function copyBytes(
  read: (offset: number, length: number) => Promise<Uint8Array>,
  write: (offset: number, bytes: Uint8Array) => Promise<void>,
  byteLength: number,
  signal?: AbortSignal,
): Promise<void> {
  for (let offset = 0; offset < byteLength; offset += COPY_CHUNK_BYTES) {
    signal?.throwIfAborted();
    await write(offset, await read(offset, Math.min(COPY_CHUNK_BYTES, byteLength - offset)));
  }
}
