/**
 * Parses the header of a safetensors file (https://huggingface.co/docs/safetensors): its length as a little-endian u64,
 * and a JSON object with the dtype, the shape and the position of every tensor. Every rule of the format is checked, so
 * the rest of the program can trust the offsets and shapes. `layer/body_tensors.ts` checks which tensors a request has.
 *
 * The parser of the JSON is at least as strict as the reference implementation, which is Hugging Face's library. It
 * refuses three things that JSON.parse accepts:
 *
 * - A repeated key. JSON.parse uses the last value and other parsers use the first, so two readers could see different
 *   tensors in the same file.
 * - A number that is not written as a plain non-negative integer, such as 1e400, -0 or 1.0000000000000000001.
 * - Nesting that is deeper than the format needs, and more values than the largest files have.
 */

import { messageOf } from "../../base/errors.ts";
import { checkBounds, decodeUtf8, isObject, parseText } from "../../base/json.ts";
import { quote } from "../../base/texts.ts";
import { type Dtype, isDtype, tensorBytes } from "../dtype.ts";
import { SafetensorsError, trailingBytes, truncated } from "./error.ts";

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

/**
 * The nesting of the format: the header, an entry of the header, and the shape of the entry. An entry has eight values
 * and four keys, and the largest mixtures of experts have 150,000 tensors in all their files.
 */
const BOUNDS = { maxDepth: 3, maxValues: 2 ** 21 };

/**
 * Parses a header, without its length field, to a JSON object.
 * @throws {SafetensorsError} `malformed` if the bytes are not valid UTF-8 or JSON, do not begin with `{`, or contain
 *   one of the three things that the first comment of this file lists
 */
function parseHeaderJson(bytes: Uint8Array): Record<string, unknown> {
  if (bytes[0] !== 0x7b) throw malformedAt("must start with '{'", 8);
  const text = asMalformed(() => {
    checkBounds(bytes, BOUNDS);
    return decodeUtf8(bytes);
  });
  checkTokens(text);
  // The value is an object, because the text starts with '{'.
  return asMalformed(() => parseText(text)) as Record<string, unknown>;
}

function asMalformed<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw malformedAt(messageOf(cause), undefined, cause);
  }
}

/**
 * Checks in one pass over the text that no key is repeated, and that all numbers are plain. The check accepts some text
 * that is not valid JSON, because `parseText` refuses such text afterwards.
 */
function checkTokens(text: string): void {
  // The keys read so far in each open object, with the innermost object last. An array has none.
  const containers: (Set<string> | undefined)[] = [];
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case '"': {
        const end = endOfString(text, at);
        if (isKey(text, end)) addKey(containers.at(-1), text, at, end);
        at = end - 1;
        break;
      }
      case "{":
        containers.push(new Set());
        break;
      case "[":
        containers.push(undefined);
        break;
      case "}":
      case "]":
        containers.pop();
        break;
      // Outside strings, the characters E . - + occur only in numbers. An e also occurs in true and false,
      // but there it never follows a digit.
      case "e":
        if (!isDigit(text[at - 1])) break;
        /* falls through */
      case "E":
      case ".":
      case "-":
      case "+":
        throw malformedAt("has a number that is not a plain non-negative integer", byteAt(text, at));
    }
  }
}

/** Returns the index after the closing quote of the string whose opening quote is at `start`. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at + 1;
  }
  throw malformedAt("is not valid JSON: a string has no end", byteAt(text, start));
}

function isKey(text: string, end: number): boolean {
  let at = end;
  while (text[at] === " " || text[at] === "\t" || text[at] === "\n" || text[at] === "\r") at++;
  return text[at] === ":";
}

function addKey(keys: Set<string> | undefined, text: string, start: number, end: number): void {
  const written = text.slice(start + 1, end - 1);
  // Parsing resolves escapes, because "a" and "\u0061" are the same key.
  const key = written.includes("\\")
    ? asMalformed(() => parseText(text.slice(start, end))) as string
    : written;
  if (keys?.has(key)) throw malformedAt(`repeats the key ${quote(key)}`, byteAt(text, start));
  keys?.add(key);
}

function isDigit(character: string): boolean {
  return character >= "0" && character <= "9";
}

/** Returns the offset in the file of the header's character at index `at`. The header follows 8 bytes of length. */
function byteAt(text: string, at: number): number {
  return 8 + new TextEncoder().encode(text.slice(0, at)).byteLength;
}

function malformedAt(rule: string, byte?: number, cause?: unknown): SafetensorsError {
  const where = byte === undefined ? "" : ` (byte ${byte})`;
  return new SafetensorsError("malformed", `safetensors header: ${rule}${where}`, { byte }, { cause });
}
