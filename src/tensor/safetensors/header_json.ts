/**
 * Parses the bytes of a safetensors header to a JSON object. The parser is at least as strict as the reference
 * implementation, which is Hugging Face's library. It refuses three things that JSON.parse accepts:
 *
 * - A repeated key. JSON.parse uses the last value and other parsers use the first, so two readers could see different
 *   tensors in the same file.
 * - A number that is not written as a plain non-negative integer, such as 1e400, -0 or 1.0000000000000000001.
 * - Nesting that is deeper than the format needs, and more values than the largest files have.
 */

import { quote } from "../../base/texts.ts";
import { SafetensorsError } from "./error.ts";
import { messageOf } from "../../base/errors.ts";
import { checkBounds, decodeUtf8, parseText } from "../../base/json.ts";

/**
 * The nesting of the format: the header, an entry of the header, and the shape of the entry. An entry has eight values
 * and four keys, and the largest mixtures of experts have 150,000 tensors in all files together.
 */
const BOUNDS = { maxDepth: 3, maxValues: 2 ** 21 };

/**
 * Parses a header, without its length field, to a JSON object.
 * @throws {SafetensorsError} `malformed` if the bytes are not valid UTF-8 or JSON, do not begin with `{`, or contain
 *   one of the three things that the first comment of this file lists
 */
export function parseHeaderJson(bytes: Uint8Array): Record<string, unknown> {
  if (bytes[0] !== 0x7b) throw malformed("must start with '{'", 8);
  const text = asMalformed(() => {
    checkBounds(bytes, BOUNDS);
    return decodeUtf8(bytes);
  });
  checkTokens(text);
  // The value is an object, because the text starts with '{'.
  return parse(text) as Record<string, unknown>;
}

/** Whether a JSON value is an object. Arrays and null do not count as objects. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parse(text: string): unknown {
  return asMalformed(() => parseText(text));
}

function asMalformed<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw malformed(messageOf(cause), undefined, cause);
  }
}

/**
 * Checks in one pass over the text that no key is repeated, and that all numbers are plain. The check accepts some text
 * that is not valid JSON, because `parse` refuses such text afterwards.
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
        throw malformed("has a number that is not a plain non-negative integer", byteAt(text, at));
    }
  }
}

/** Returns the index after the closing quote of the string whose opening quote is at `start`. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at + 1;
  }
  throw malformed("is not valid JSON: a string has no end", byteAt(text, start));
}

function isKey(text: string, end: number): boolean {
  let at = end;
  while (text[at] === " " || text[at] === "\t" || text[at] === "\n" || text[at] === "\r") at++;
  return text[at] === ":";
}

function addKey(keys: Set<string> | undefined, text: string, start: number, end: number): void {
  const written = text.slice(start + 1, end - 1);
  // Parsing resolves escapes, because "a" and "\u0061" are the same key.
  const key = written.includes("\\") ? parse(text.slice(start, end)) as string : written;
  if (keys?.has(key)) throw malformed(`repeats the key ${quote(key)}`, byteAt(text, start));
  keys?.add(key);
}

function isDigit(character: string): boolean {
  return character >= "0" && character <= "9";
}

/** Returns the offset in the file of the header's character at index `at`. The header follows 8 bytes of length. */
function byteAt(text: string, at: number): number {
  return 8 + new TextEncoder().encode(text.slice(0, at)).byteLength;
}

function malformed(rule: string, byte?: number, cause?: unknown): SafetensorsError {
  const where = byte === undefined ? "" : ` (byte ${byte})`;
  return new SafetensorsError("malformed", `safetensors header: ${rule}${where}`, { byte }, { cause });
}
