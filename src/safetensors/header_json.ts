/**
 * Header bytes to a JSON object, as strictly as the reference reader and more: what JSON.parse would let pass
 * in silence is refused here. A repeated key (JSON.parse keeps the last, another parser the first, so two
 * readers would see two files), a number not written as a plain integer (1e400, -0, 1.0000000000000000001),
 * and nesting deeper than the format has, which also keeps JSON.parse from hostile depth.
 * It knows nothing of tensors.
 */

import { quote, SafetensorsError } from "./error.ts";
import { messageOf } from "../text/message_of.ts";

/** The deepest nesting of the format: the header, an entry, its shape. */
const MAX_DEPTH = 3;

/**
 * The header's JSON object.
 *
 * @throws {SafetensorsError} malformed: not UTF-8, not JSON, not an object from the first byte on, or one of the
 * above.
 */
export function parseHeaderJson(bytes: Uint8Array): Record<string, unknown> {
  if (bytes[0] !== 0x7b) throw malformed("must start with '{'", 8);
  const text = decodeUtf8(bytes);
  scan(text);
  return parse(text) as Record<string, unknown>; // it starts with '{'
}

/** Whether a JSON value is an object, not an array or null. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw malformed("is not valid UTF-8", undefined, cause);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = messageOf(cause);
    throw malformed(`is not valid JSON: ${reason}`, undefined, cause);
  }
}

/** Walks the tokens once. Text that is not JSON may pass: `parse` has the last word. */
function scan(text: string): void {
  const containers: Set<string>[] = []; // the keys met in each open object, innermost last; an array has none
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case '"': {
        const end = endOfString(text, at);
        if (isKey(text, end)) addKey(containers.at(-1), text, at, end);
        at = end - 1;
        break;
      }
      case "{":
      case "[":
        if (containers.length === MAX_DEPTH) {
          throw malformed(`nests deeper than ${MAX_DEPTH}`, byteAt(text, at));
        }
        containers.push(new Set());
        break;
      case "}":
      case "]":
        containers.pop();
        break;
      case "e": // the others occur in numbers alone; an e also in true and false, never after a digit
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

/** The index after the closing quote of the string that opens at `start`. */
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
  const key = parse(text.slice(start, end)) as string; // unescaped: "a" and "\u0061" are one key
  if (keys?.has(key)) throw malformed(`repeats the key ${quote(key)}`, byteAt(text, start));
  keys?.add(key);
}

function isDigit(character: string): boolean {
  return character >= "0" && character <= "9";
}

/** The offset in the file of a character of the header. */
function byteAt(text: string, at: number): number {
  return 8 + new TextEncoder().encode(text.slice(0, at)).byteLength;
}

function malformed(rule: string, byte?: number, cause?: unknown): SafetensorsError {
  const where = byte === undefined ? "" : ` (byte ${byte})`;
  return new SafetensorsError("malformed", `safetensors header: ${rule}${where}`, { byte }, { cause });
}
