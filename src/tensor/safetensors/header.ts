/**
 * Parses the header of a safetensors file (https://huggingface.co/docs/safetensors): its length as a little-endian u64,
 * and a JSON object with the dtype, the shape and the position of every tensor. Every rule of the format is checked, so
 * the rest of the program can trust the offsets and shapes. `layer/body_tensors.ts` checks which tensors a request has.
 */

import { type Dtype, isDtype, tensorBytes } from "../dtype.ts";
import { quote } from "../../base/texts.ts";
import { SafetensorsError, trailingBytes, truncated } from "./error.ts";
import { isObject, parseHeaderJson } from "./header_json.ts";

/** The size in bytes of the length field at the start of a file. */
export const LENGTH_BYTES = 8;

/** The longest accepted header of a request body, in bytes. It is ample for the few tensors of a layer. */
export const MAX_HEADER_BYTES = 1 << 20;

/** The longest accepted header of a checkpoint file, in bytes. This is the limit of the reference implementation. */
export const MAX_CHECKPOINT_HEADER_BYTES = 100_000_000;

/** The key of the header under which a file can store arbitrary strings. A tensor cannot have this name. */
export const METADATA_KEY = "__metadata__";

/** A header that follows every rule of the format. */
export interface SafetensorsHeader {
  /** The tensors in the order of their data. The first begins at 0, and each next tensor where its predecessor ends. */
  readonly tensors: readonly TensorInfo[];
  /** The strings of `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The size in bytes of everything before the data section: the length field, the JSON and its padding. */
  readonly headerBytes: number;
  /** The size of the data section, in bytes. */
  readonly dataBytes: number;
}

/**
 * Parses the length field in the first 8 bytes of `prefix`.
 * @returns the length of the JSON that follows, in bytes
 * @throws {SafetensorsError} `malformed` if the length is above `maxHeaderBytes`
 */
export function parseHeaderLength(prefix: Uint8Array, maxHeaderBytes: number = MAX_HEADER_BYTES): number {
  const length = new DataView(prefix.buffer, prefix.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes)) {
    if (isText(prefix.subarray(0, LENGTH_BYTES))) {
      const message = "this is not a safetensors file, because it begins with text";
      throw new SafetensorsError("malformed", message, { byte: 0 });
    }
    throw malformed(`its length ${length} is above the limit of ${maxHeaderBytes} bytes`, { byte: 0 });
  }
  return Number(length);
}

/** Whether all bytes are printable ASCII or white space, which no header length within a limit is. */
function isText(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte >= 0x20 && byte < 0x7f || byte >= 0x09 && byte <= 0x0d);
}

/**
 * Parses and checks a header.
 * @param json the bytes after the length field
 * @param dataBytes the actual length of the data section in bytes. If it is given, the header must match it
 * @throws {SafetensorsError} `malformed` if the header breaks a rule of the format or the tensors need fewer bytes than
 *   `dataBytes`, `truncated` if they need more
 */
export function parseHeader(json: Uint8Array, dataBytes?: number): SafetensorsHeader {
  const { [METADATA_KEY]: metadata = {}, ...entries } = parseHeaderJson(json);
  const tensors = Object.entries(entries).map(([name, entry]) => parseTensorInfo(name, entry));
  // An empty tensor and the tensor after it have the same begin, so the end decides their order.
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  const header: SafetensorsHeader = {
    tensors,
    metadata: parseMetadata(metadata),
    headerBytes: LENGTH_BYTES + json.byteLength,
    dataBytes: checkLayout(tensors),
  };
  if (dataBytes !== undefined) checkDataBytes(header, dataBytes);
  return header;
}

function parseMetadata(metadata: unknown): Record<string, string> {
  if (!isObject(metadata)) throw malformed(`${METADATA_KEY} must be an object, not ${quote(metadata)}`);
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string") {
      throw malformed(`${METADATA_KEY} key ${quote(key)} must hold a string, not ${quote(value)}`);
    }
    if (!key.isWellFormed() || !value.isWellFormed()) {
      throw malformed(`${METADATA_KEY} key ${quote(key)} or its value is not valid Unicode`);
    }
  }
  return metadata as Record<string, string>;
}

/** Checks that the sorted tensors have no gaps and no overlaps. Returns the length of the data section. */
function checkLayout(tensors: readonly TensorInfo[]): number {
  let position = 0;
  for (const { name, begin, end } of tensors) {
    if (begin !== position) {
      const fault = begin < position
        ? "overlaps the tensor before it, which"
        : "leaves a gap: the data before it";
      throw malformed(`tensor ${quote(name)} begins at ${begin} and ${fault} ends at ${position}`, {
        tensor: name,
      });
    }
    position = end;
  }
  return position;
}

function checkDataBytes(header: SafetensorsHeader, dataBytes: number): void {
  const expected = header.headerBytes + header.dataBytes;
  const total = header.headerBytes + dataBytes;
  if (total < expected) throw truncated("data", total, expected);
  if (total > expected) throw trailingBytes(expected);
}

function malformed(rule: string, fault: { tensor?: string; byte?: number } = {}): SafetensorsError {
  return new SafetensorsError("malformed", `safetensors header: ${rule}`, fault);
}

/** The entry of one tensor in a header. */
export interface TensorInfo {
  /** The name of the tensor, unique in the file. */
  readonly name: string;
  /** The type of its elements. */
  readonly dtype: Dtype;
  /** The extents, outermost first. `[]` is the shape of a scalar. */
  readonly shape: readonly number[];
  /** The offset of the first byte from the start of the data section. */
  readonly begin: number;
  /** The offset after the last byte. `end - begin` is exactly the size that dtype and shape need. */
  readonly end: number;
}

/**
 * Parses the entry of the tensor `name`.
 * @throws {SafetensorsError} `malformed`, with `tensor` set, if a key is missing or unknown, the dtype is not
 *   supported, a number is not a safe integer, or the length of the data is not what dtype and shape need
 */
function parseTensorInfo(name: string, entry: unknown): TensorInfo {
  if (!name.isWellFormed()) throw malformedEntry(name, "has a name that is not valid Unicode");
  if (!isObject(entry)) throw malformedEntry(name, `must be an object, not ${quote(entry)}`);
  const { dtype, shape, data_offsets: offsets, ...unknown } = entry;
  for (const key of Object.keys(unknown)) throw malformedEntry(name, `has the unknown key ${quote(key)}`);
  if (typeof dtype !== "string" || !isDtype(dtype)) {
    throw malformedEntry(name, `has the unknown dtype ${quote(dtype)}`);
  }
  if (!isSizes(shape)) {
    throw malformedEntry(name, `needs a shape of integers from 0 to 2^53 - 1, not ${quote(shape)}`);
  }
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    throw malformedEntry(name, `needs data_offsets [begin, end] with begin <= end, not ${quote(offsets)}`);
  }
  const [begin, end] = offsets;
  const needed = bytesNeeded(name, dtype, shape);
  if (end - begin !== needed) {
    throw malformedEntry(
      name,
      `spans bytes ${begin}..${end} but ${dtype} ${quote(shape)} needs ${needed} bytes`,
    );
  }
  return { name, dtype, shape, begin, end };
}

function bytesNeeded(name: string, dtype: Dtype, shape: readonly number[]): number {
  try {
    return tensorBytes(dtype, shape);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw malformedEntry(name, `has shape ${quote(shape)}, but ${cause.message}`);
  }
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function malformedEntry(name: string, rule: string): SafetensorsError {
  return new SafetensorsError("malformed", `safetensors header: tensor ${quote(name)} ${rule}`, {
    tensor: name,
  });
}
