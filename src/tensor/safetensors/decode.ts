/**
 * Reads safetensors files (https://huggingface.co/docs/safetensors), the file format of the weights. `openSafetensors`
 * reads a stream and returns the bytes of each tensor as they arrive. `decode` reads a file that is already in memory.
 * Both return views of the input, and neither converts or checks the values of the tensors.
 */

import type { HostTensor } from "../host_tensor.ts";
import { trailingBytes, truncated } from "./error.ts";
import {
  LENGTH_BYTES,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
  type TensorInfo,
} from "./header.ts";

/** Options of {@link openSafetensors}. */
export interface DecodeOptions {
  /**
   * The length of the whole file in bytes, if it is known (from Content-Length, for example). A file whose header needs
   * another length is then refused before any data is read.
   */
  readonly totalBytes?: number;
  /** The longest accepted JSON header in bytes, against hostile headers. @default MAX_HEADER_BYTES */
  readonly maxHeaderBytes?: number;
}

/** A run of consecutive bytes of one tensor. */
export interface TensorChunk {
  readonly tensor: TensorInfo;
  /** The offset of `bytes` in the data of the tensor. A chunk may begin or end inside an element. */
  readonly offset: number;
  /** At least one byte. This is a view of the source's chunk, and is valid only as long as the chunk. */
  readonly bytes: Uint8Array;
}

/** A safetensors stream whose header has been read, and whose data is still to be read. */
export interface SafetensorsStream {
  readonly header: SafetensorsHeader;
  /**
   * Reads the data in file order. The method can be called only once. An empty tensor has no chunk. Leaving the loop
   * early closes the source. Rethrows the errors of the source.
   * @throws {SafetensorsError} `truncated` if the source ends too early, `malformed` if bytes follow the last tensor
   * @throws {TypeError} at the second call
   */
  chunks(): AsyncGenerator<TensorChunk, void, undefined>;
  /** Closes the source. This is needed only if the result of `chunks` is never iterated. */
  close(): Promise<void>;
}

/**
 * Reads the header of a file that arrives in chunks of any size, from a ReadableStream for example. If the header is
 * refused, the source is closed. Rethrows the errors of the source.
 * @throws {SafetensorsError} `malformed` if the header breaks a rule of the format, `truncated` if the file ends within
 *   the header or, with `totalBytes`, is too short for the tensors
 */
export async function openSafetensors(
  source: AsyncIterable<Uint8Array>,
  options: DecodeOptions = {},
): Promise<SafetensorsStream> {
  const bytes = new ByteSource(source);
  let header: SafetensorsHeader;
  try {
    header = await readHeader(bytes, options);
  } catch (error) {
    await bytes.close();
    throw error;
  }
  let opened = false;
  return {
    header,
    chunks() {
      if (opened) throw new TypeError("safetensors data: chunks() can be read only once");
      opened = true;
      return readChunks(bytes, header);
    },
    close: () => bytes.close(),
  };
}

/** Reads all tensors into memory, by their names, and closes the stream. @throws as the `chunks` of the stream */
export async function readTensors(stream: SafetensorsStream): Promise<Map<string, HostTensor>> {
  const tensors = new Map(
    stream.header.tensors.map(({ name, dtype, shape, begin, end }) =>
      [name, { dtype, shape, data: new Uint8Array(end - begin) }] as const
    ),
  );
  for await (const { tensor, offset, bytes } of stream.chunks()) {
    tensors.get(tensor.name)!.data.set(bytes, offset);
  }
  return tensors;
}

async function readHeader(source: ByteSource, options: DecodeOptions): Promise<SafetensorsHeader> {
  const { totalBytes, maxHeaderBytes } = options;
  const prefix = await source.readExactly(LENGTH_BYTES);
  requireBytes("length", prefix.byteLength, LENGTH_BYTES);
  const headerBytes = LENGTH_BYTES + parseHeaderLength(prefix, maxHeaderBytes);
  if (totalBytes !== undefined) requireBytes("header", totalBytes, headerBytes);
  const json = await source.readExactly(headerBytes - LENGTH_BYTES);
  requireBytes("header", LENGTH_BYTES + json.byteLength, headerBytes);
  return parseHeader(json, totalBytes === undefined ? undefined : totalBytes - headerBytes);
}

async function* readChunks(
  source: ByteSource,
  header: SafetensorsHeader,
): AsyncGenerator<TensorChunk, void, undefined> {
  const { headerBytes, dataBytes } = header;
  const fileBytes = headerBytes + dataBytes;
  try {
    for (const tensor of header.tensors) {
      const length = tensor.end - tensor.begin;
      for (let offset = 0; offset < length;) {
        const bytes = await source.readSome(length - offset);
        if (bytes === undefined) throw truncated("data", source.position, fileBytes, tensor.name);
        yield { tensor, offset, bytes };
        offset += bytes.byteLength;
      }
    }
    if (await source.readSome(1) !== undefined) throw trailingBytes(fileBytes);
  } finally {
    await source.close();
  }
}

/** A safetensors file in memory. */
export interface DecodedFile {
  /** The metadata of the file, and the position of each tensor in it. */
  readonly header: SafetensorsHeader;
  /** The tensors by their names. Their data are views of the file. */
  readonly tensors: Map<string, HostTensor>;
}

/**
 * Reads a whole file from memory. The tensors are views of `file`, in the order of their data.
 * @throws {SafetensorsError} `malformed` if the file breaks a rule of the format, `truncated` if it ends too early
 */
export function decode(
  file: Uint8Array<ArrayBuffer>,
  options: Pick<DecodeOptions, "maxHeaderBytes"> = {},
): DecodedFile {
  requireBytes("length", file.byteLength, LENGTH_BYTES);
  const headerBytes = LENGTH_BYTES + parseHeaderLength(file, options.maxHeaderBytes);
  requireBytes("header", file.byteLength, headerBytes);
  const header = parseHeader(file.subarray(LENGTH_BYTES, headerBytes), file.byteLength - headerBytes);
  const data = file.subarray(headerBytes);
  const tensors = new Map<string, HostTensor>();
  for (const { name, dtype, shape, begin, end } of header.tensors) {
    tensors.set(name, { dtype, shape, data: data.subarray(begin, end) });
  }
  return { header, tensors };
}

function requireBytes(part: string, actual: number, needed: number): void {
  if (actual < needed) throw truncated(part, actual, needed);
}

/** Reads from an iterable of byte chunks. */
class ByteSource {
  /** The number of bytes returned so far. */
  position = 0;
  #chunk: Uint8Array = new Uint8Array(0);
  #ended = false;
  readonly #iterator: AsyncIterator<Uint8Array>;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#iterator = source[Symbol.asyncIterator]();
  }

  /** Returns 1 to `maxBytes` of the next bytes, as a view, or undefined at the end. */
  async readSome(maxBytes: number): Promise<Uint8Array | undefined> {
    while (this.#chunk.byteLength === 0) {
      const next = await this.#pull();
      if (next === undefined) return undefined;
      this.#chunk = next;
    }
    const bytes = this.#chunk.subarray(0, maxBytes);
    this.#chunk = this.#chunk.subarray(bytes.byteLength);
    this.position += bytes.byteLength;
    return bytes;
  }

  /** Returns the next `count` bytes, or fewer at the end. They are copied only if they lie in several chunks. */
  async readExactly(count: number): Promise<Uint8Array> {
    const first = count === 0 ? undefined : await this.readSome(count);
    if (first === undefined || first.byteLength === count) return first ?? new Uint8Array(0);
    const bytes = new Uint8Array(count);
    bytes.set(first);
    let filled = first.byteLength;
    while (filled < count) {
      const more = await this.readSome(count - filled);
      if (more === undefined) break;
      bytes.set(more, filled);
      filled += more.byteLength;
    }
    return bytes.subarray(0, filled);
  }

  /** Closes the source early, which cancels a ReadableStream. Idempotent, and does nothing if the source has ended. */
  async close(): Promise<void> {
    this.#chunk = new Uint8Array(0);
    if (this.#ended) return;
    this.#ended = true;
    await this.#iterator.return?.();
  }

  async #pull(): Promise<Uint8Array | undefined> {
    if (this.#ended) return undefined;
    // Marked as ended before the call, because an iterator that throws must not be called again.
    this.#ended = true;
    const { done, value } = await this.#iterator.next();
    if (done) return undefined;
    this.#ended = false;
    return value;
  }
}
