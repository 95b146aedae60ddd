/**
 * The header of a safetensors file: u64 little-endian length, then a JSON object that gives each tensor its
 * dtype, shape and place in the data section (https://huggingface.co/docs/safetensors). Every rule of the
 * format is checked here, so that past this border offsets and shapes are trusted. No tensor data is touched,
 * and whether a request has the tensors it needs is for `protocol` to say.
 */

import { quote, SafetensorsError, trailingBytes, truncated } from "./error.ts";
import { isObject, parseHeaderJson } from "./header_json.ts";
import { parseTensorInfo, type TensorInfo } from "./tensor_info.ts";

/** Bytes of the length field that opens a file. */
export const LENGTH_BYTES = 8;

/** Header cap for request bodies: a layer has six tensors, so 1 MiB is ample and cheap to refuse or parse. */
export const MAX_HEADER_BYTES = 1 << 20;

/** Header cap for checkpoint files: the limit of the reference implementation. */
export const MAX_CHECKPOINT_HEADER_BYTES = 100_000_000;

/** The key under which the header keeps free-form strings; no tensor can have this name. */
export const METADATA_KEY = "__metadata__";

/** A checked header. */
export interface SafetensorsHeader {
  /** In data order: each begins where the one before it ends, the first at 0. */
  readonly tensors: readonly TensorInfo[];
  readonly metadata: Readonly<Record<string, string>>;
  /** Bytes before the data section: the length field and the JSON with its padding. */
  readonly headerBytes: number;
  /** Bytes of the data section. */
  readonly dataBytes: number;
}

/**
 * The length of the JSON that follows the 8 bytes of `prefix`.
 *
 * @throws {SafetensorsError} malformed: above `maxHeaderBytes`.
 */
export function parseHeaderLength(prefix: Uint8Array, maxHeaderBytes: number = MAX_HEADER_BYTES): number {
  const length = new DataView(prefix.buffer, prefix.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes)) {
    throw malformed(`its length ${length} is above the limit of ${maxHeaderBytes} bytes`, { byte: 0 });
  }
  return Number(length);
}

/**
 * The header in `json`, the bytes after the length field; `dataBytes`, the length of the data section, is
 * checked where it is given.
 *
 * @throws {SafetensorsError} malformed: a rule of the format is broken. truncated: `dataBytes` is too small.
 */
export function parseHeader(json: Uint8Array, dataBytes?: number): SafetensorsHeader {
  const { [METADATA_KEY]: metadata = {}, ...entries } = parseHeaderJson(json);
  const tensors = Object.entries(entries).map(([name, entry]) => parseTensorInfo(name, entry));
  // An empty tensor shares its begin with the one that follows it.
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

/** Refuses gaps and overlaps between tensors in data order; the length of the data section. */
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
