/**
 * Reads JSON that somebody else has written: the metadata of a file, a request, an answer, or a file of a model. A few
 * megabytes of JSON can take gigabytes of memory, so the number of values is checked before the text is parsed.
 */

import { messageOf } from "./errors.ts";

export interface JsonBounds {
  /** The largest number of values, counted by the commas and the opening brackets. @default MAX_JSON_VALUES */
  readonly maxValues?: number;
  /** The largest number of keys of all objects. A key takes five times the memory and the time of a value. @default `maxValues` */
  readonly maxKeys?: number;
  /** The deepest nesting of objects and arrays. @default 64 */
  readonly maxDepth?: number;
}

/** The default limit of values. An empty object takes about 56 bytes, so the values take at most 16 MiB besides their texts. */
export const MAX_JSON_VALUES = 2 ** 18;

const MAX_DEPTH = 64;

/**
 * Parses JSON, a text or its bytes in UTF-8.
 * @throws {SyntaxError} if it is malformed, or exceeds a bound. The message is the predicate of a sentence about `json`
 */
export function parseJson(json: string | Uint8Array, bounds: JsonBounds = {}): unknown {
  const isText = typeof json === "string";
  checkBounds(isText ? new TextEncoder().encode(json) : json, bounds);
  return parseText(isText ? json : decodeUtf8(json));
}

/** Parses JSON without bounds. @throws {SyntaxError} as {@link parseJson} */
export function parseText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SyntaxError(`is not valid JSON: ${messageOf(cause)}`, { cause });
  }
}

/** Whether a JSON value is an object. Arrays and null do not count as objects. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Decodes UTF-8. @throws {SyntaxError} if `bytes` are malformed. The message is the predicate of a sentence about them */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new SyntaxError("is not valid UTF-8", { cause });
  }
}

/** Parses JSON, or returns undefined if it is malformed, such as the error page of a proxy, or exceeds a bound. */
export function tryParseJson(json: string | Uint8Array): unknown {
  try {
    return parseJson(json);
  } catch {
    return undefined;
  }
}

const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];

/** Checks the bounds in one pass over the bytes, whose other rules `JSON.parse` checks afterwards. @throws {SyntaxError} */
export function checkBounds(
  bytes: Uint8Array,
  { maxValues = MAX_JSON_VALUES, maxKeys = maxValues, maxDepth = MAX_DEPTH }: JsonBounds = {},
): void {
  let values = 1, keys = 0, depth = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      while (++at < bytes.length && bytes[at] !== QUOTE) if (bytes[at] === BACKSLASH) at++;
      continue;
    }
    // "[" and "{" differ in the bit 0x20, and so do "]" and "}".
    const bracket = byte | 0x20, opens = bracket === 0x7b;
    if (bracket === 0x7d) depth--;
    if (opens && ++depth > maxDepth) throw new SyntaxError(`nests deeper than ${maxDepth}`);
    if (byte === COLON && ++keys > maxKeys) throw tooMany(maxKeys, "keys");
    if ((opens || byte === COMMA) && ++values > maxValues) throw tooMany(maxValues, "values");
  }
}

function tooMany(limit: number, things: string): SyntaxError {
  return new SyntaxError(`has more than ${limit} ${things}, which is the limit`);
}
