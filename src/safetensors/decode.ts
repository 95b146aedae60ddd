/**
 * Reading a safetensors file: as a stream, where each tensor's bytes are handed on as they arrive and nothing
 * is kept, or whole from memory. Both give views of the bytes they were handed, never copies. Converting and
 * validating values is the caller's.
 */

import type { HostTensor } from "../tensor/host_tensor.ts";
import { ByteSource } from "./byte_source.ts";
import { trailingBytes, truncated } from "./error.ts";
import { LENGTH_BYTES, parseHeader, parseHeaderLength, type SafetensorsHeader } from "./header.ts";
import type { TensorInfo } from "./tensor_info.ts";

/** What the reader is told of the file beforehand. */
export interface DecodeOptions {
  /** Length of the whole file where it is known (Content-Length): a header that disagrees is refused at once. */
  readonly totalBytes?: number;
  /** Longest JSON header accepted; `MAX_HEADER_BYTES` unless given. It bounds the memory a header can take. */
  readonly maxHeaderBytes?: number;
}

/** Some consecutive bytes of one tensor. */
export interface TensorChunk {
  readonly tensor: TensorInfo;
  /** Where in the tensor `bytes` begins. A chunk may begin or end inside an element. */
  readonly offset: number;
  /** At least one byte; a view of the source's chunk, valid as long as that is. */
  readonly bytes: Uint8Array;
}

/** A file whose header has been read and whose data has not. */
export interface SafetensorsStream {
  readonly header: SafetensorsHeader;
  /**
   * The data, once, in file order; an empty tensor has no chunk. Leaving the loop early closes the source.
   *
   * @throws {SafetensorsError} truncated: the source ends early. malformed: bytes follow the last tensor.
   */
  chunks(): AsyncGenerator<TensorChunk, void, undefined>;
  /** Closes the source: needed only where `chunks` is never iterated. */
  close(): Promise<void>;
}

/**
 * Reads the header of a file that arrives in chunks of any sizes; a ReadableStream will do. The source is closed
 * if the header is refused. Errors of the source pass through.
 *
 * @throws {SafetensorsError} malformed: the header breaks a rule. truncated: the file ends within it.
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

async function readHeader(source: ByteSource, options: DecodeOptions): Promise<SafetensorsHeader> {
  const { totalBytes, maxHeaderBytes } = options;
  const prefix = await source.exactly(LENGTH_BYTES);
  checkReached("length", prefix.byteLength, LENGTH_BYTES);
  const headerBytes = LENGTH_BYTES + parseHeaderLength(prefix, maxHeaderBytes);
  if (totalBytes !== undefined) checkReached("header", totalBytes, headerBytes);
  const json = await source.exactly(headerBytes - LENGTH_BYTES);
  checkReached("header", LENGTH_BYTES + json.byteLength, headerBytes);
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
        const bytes = await source.some(length - offset);
        if (bytes === undefined) throw truncated("data", source.position, fileBytes, tensor.name);
        yield { tensor, offset, bytes };
        offset += bytes.byteLength;
      }
    }
    if (await source.some(1) !== undefined) throw trailingBytes(fileBytes);
  } finally {
    await source.close();
  }
}

/**
 * Reads a whole file from memory. The tensors are views of `file`, in data order.
 *
 * @throws {SafetensorsError} as `openSafetensors` and its `chunks`.
 */
export function decode(
  file: Uint8Array<ArrayBuffer>,
  options: Pick<DecodeOptions, "maxHeaderBytes"> = {},
): { header: SafetensorsHeader; tensors: Map<string, HostTensor> } {
  checkReached("length", file.byteLength, LENGTH_BYTES);
  const headerBytes = LENGTH_BYTES + parseHeaderLength(file, options.maxHeaderBytes);
  checkReached("header", file.byteLength, headerBytes);
  const header = parseHeader(file.subarray(LENGTH_BYTES, headerBytes), file.byteLength - headerBytes);
  const data = file.subarray(headerBytes);
  const tensors = new Map<string, HostTensor>();
  for (const { name, dtype, shape, begin, end } of header.tensors) {
    tensors.set(name, { dtype, shape, data: data.subarray(begin, end) });
  }
  return { header, tensors };
}

function checkReached(part: string, reached: number, expected: number): void {
  if (reached < expected) throw truncated(part, reached, expected);
}
