/** The body of a request, whose bytes are read while they are sent, and again for each attempt. */

import type { HostTensor } from "../tensor/host_tensor.ts";

/** Bytes that are read when they are sent. */
export interface StoredBytes {
  /** The number of bytes of all chunks. If the chunks have another number, the request throws a RangeError. */
  readonly byteLength: number;
  /** Yields the bytes in order. Each call reads them again. */
  chunks(): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** Consecutive bytes of a body. */
export type BodyPart = Uint8Array<ArrayBuffer> | StoredBytes;

/** A tensor of a body. The data is in memory, or is read when it is sent. */
export type SentTensor = Omit<HostTensor, "data"> & { readonly data: BodyPart };

/** The tensors of a block, by their names in the checkpoint. */
export type BlockTensors = ReadonlyMap<string, SentTensor>;

/** The most bytes of a piece of a body. With larger pieces, V8 would collect the garbage of sending only every 64 MiB. */
const PIECE_BYTES = 2 ** 16;

/**
 * A Blob that does not have its bytes in memory. `fetch` sends a Blob with a Content-Length, and a stream without one. Deno
 * and Node take both from the methods of this class. Browsers look into a Blob instead, so they need the result of `copy`.
 */
export class BodyBlob extends Blob {
  readonly #parts: readonly BodyPart[];
  #isOpened = false;
  #failure?: { readonly error: unknown };

  /** @param parts the bytes, in order */
  constructor(parts: readonly BodyPart[]) {
    super();
    this.#parts = parts;
  }

  /** The length of the body in bytes. */
  override get size(): number {
    return this.#parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Whether `stream` was called. */
  get isOpened(): boolean {
    return this.#isOpened;
  }

  /** The error that a part has thrown. `fetch` reports it as a failure of the connection. */
  get failure(): { readonly error: unknown } | undefined {
    return this.#failure;
  }

  override stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#isOpened = true;
    const pieces = this.#pieces();
    // `ReadableStream.from` is missing in some of the runtimes in which the SDK runs.
    return new ReadableStream({
      async pull(controller) {
        const { done, value } = await pieces.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await pieces.return();
      },
    });
  }

  /** Returns a Blob that has the bytes in memory. */
  async copy(): Promise<Blob> {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    for await (const piece of this.#pieces()) pieces.push(piece);
    return new Blob(pieces);
  }

  async *#pieces(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    try {
      for (const part of this.#parts) {
        let end = 0;
        for await (const chunk of part instanceof Uint8Array ? [part] : part.chunks()) {
          end += chunk.byteLength;
          if (end > part.byteLength) break;
          for (let start = 0; start < chunk.byteLength; start += PIECE_BYTES) {
            yield chunk.byteLength <= PIECE_BYTES ? chunk : chunk.subarray(start, start + PIECE_BYTES);
          }
        }
        if (end === part.byteLength) continue;
        throw new RangeError(`request body: a part of ${part.byteLength} bytes has yielded ${end}`);
      }
    } catch (error) {
      this.#failure = { error };
      throw error;
    }
  }
}
