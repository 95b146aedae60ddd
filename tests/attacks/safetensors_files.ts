/**
 * Hostile safetensors files, generated on demand, each with the error that a reader must throw. They can be run against anything that
 * reads a body: `for (const { name, file } of SAFETENSORS_ATTACKS) …file()`. No file is larger than a few MiB.
 */

import { MAX_HEADER_BYTES } from "../../src/safetensors/header.ts";
import type { SafetensorsErrorKind } from "../../src/safetensors/error.ts";

/** A file that every reader must refuse. */
export interface SafetensorsAttack {
  readonly name: string;
  readonly kind: SafetensorsErrorKind;
  /** A pattern that the error's message must match. */
  readonly message: RegExp;
  file(): Uint8Array<ArrayBuffer>;
}

/** Makes a file from a header text and `dataBytes` zeros. The length field is right unless `declaredLength` replaces it. */
export function rawFile(
  header: string | Uint8Array,
  dataBytes: number = 0,
  declaredLength: bigint | null = null,
): Uint8Array<ArrayBuffer> {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + json.byteLength + dataBytes);
  new DataView(file.buffer).setBigUint64(0, declaredLength ?? BigInt(json.byteLength), true);
  file.set(json, 8);
  return file;
}

/** Returns the JSON text of a tensor's entry. */
function entry(shape: string, offsets: string, dtype: string = '"F32"'): string {
  return `{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}`;
}

const VALID_ENTRY = entry("[2]", "[0,8]");

/** Describes a file with a malformed header. */
function malformed(
  name: string,
  header: string | Uint8Array,
  message: RegExp,
  dataBytes: number = 8,
): SafetensorsAttack {
  return { name, kind: "malformed", message, file: () => rawFile(header, dataBytes) };
}

/** Describes a file that ends early. */
function truncated(name: string, file: () => Uint8Array<ArrayBuffer>): SafetensorsAttack {
  return { name, kind: "truncated", message: /file ends at byte \d+ but needs \d+/, file };
}

/** Describes a file whose length field is above the limit. */
function withLength(name: string, length: bigint): SafetensorsAttack {
  const message = new RegExp(`length ${length} is above the limit of ${MAX_HEADER_BYTES}`);
  return { name, kind: "malformed", message, file: () => rawFile(`{"t":${VALID_ENTRY}}`, 8, length) };
}

const MIB = 1 << 20;

/** All attacks on the safetensors reader. */
export const SAFETENSORS_ATTACKS: readonly SafetensorsAttack[] = [
  truncated("an empty file", () => new Uint8Array(0)),
  truncated("half a length field", () => new Uint8Array(5)),
  truncated("a file that ends after its length field", () => rawFile("", 0, 64n)),
  truncated("a truncated header", () => rawFile(`{"t":${VALID_ENTRY}`, 0, 200n)),
  truncated("truncated data", () => rawFile(`{"t":${VALID_ENTRY}}`, 7)),
  truncated(
    "a tensor that claims petabytes",
    () => rawFile(`{"t":${entry("[1125899906842624]", "[0,4503599627370496]")}}`, 8),
  ),

  withLength("a length of 2^64 - 1", 2n ** 64n - 1n),
  withLength("a length that is negative in two's complement", 2n ** 63n),
  withLength("a length that a float64 rounds", 2n ** 53n + 1n),
  withLength("a length that is small in its low 32 bits", 2n ** 32n + 2n),
  withLength("a length one above the limit", BigInt(MAX_HEADER_BYTES) + 1n),

  malformed("an empty header", "", /must start with '{'/),
  malformed("a leading space", ` {"t":${VALID_ENTRY}}`, /must start with '{'/),
  malformed("a byte order mark", `\ufeff{"t":${VALID_ENTRY}}`, /must start with '{'/),
  malformed("an array", "[]", /must start with '{'/),
  malformed("two objects", `{"t":${VALID_ENTRY}}{}`, /not valid JSON/),
  malformed("a NUL after the object", `{"t":${VALID_ENTRY}}\0`, /not valid JSON/),
  malformed("a trailing comma", `{"t":${VALID_ENTRY},}`, /not valid JSON/),
  malformed("an unterminated string", `{"t`, /not valid JSON/),
  malformed("an unterminated escape", `{"t\\`, /not valid JSON/),
  malformed("invalid UTF-8", Uint8Array.of(0x7b, 0x22, 0xc0, 0x80, 0x22, 0x7d), /not valid UTF-8/),
  malformed("a UTF-8 surrogate", Uint8Array.of(0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x7d), /not valid UTF-8/),
  malformed("closing brackets without opening ones", "{}}}]]]", /not valid JSON/),

  malformed("a MiB of nested arrays", `{"t":${"[".repeat(MIB - 6)}`, /nests deeper than 3/),
  malformed("a MiB of nested objects", '{"t":'.repeat(MIB / 5 - 1), /nests deeper than 3/),
  malformed(
    "deeply nested arrays that are closed again",
    `{"t":${"[".repeat(9999)}${"]".repeat(9999)}}`,
    /nests deeper than 3/,
  ),

  malformed("a repeated tensor", `{"t":${VALID_ENTRY},"t":${VALID_ENTRY}}`, /repeats the key "t"/),
  malformed(
    "a tensor repeated through an escape",
    `{"t":${VALID_ENTRY},"\\u0074":${VALID_ENTRY}}`,
    /repeats the key "t"/,
  ),
  malformed(
    "a tensor repeated after unusual white space",
    `{"t"\t:${VALID_ENTRY},"t"\r\n : ${VALID_ENTRY}}`,
    /repeats the key "t"/,
  ),
  malformed("a repeated dtype", `{"t":{"dtype":"F32",${VALID_ENTRY.slice(1)}}`, /repeats the key "dtype"/),
  malformed("repeated metadata", `{"__metadata__":{"a":"1","a":"2"}}`, /repeats the key "a"/, 0),
  malformed("metadata twice", `{"__metadata__":{},"__metadata__":{}}`, /repeats the key "__metadata__"/, 0),
  malformed(
    "__proto__ twice",
    `{"__proto__":${VALID_ENTRY},"__proto__":${VALID_ENTRY}}`,
    /repeats the key "__proto__"/,
  ),

  malformed("a null entry", `{"t":null}`, /"t" must be an object, not null/),
  malformed("an array entry", `{"t":[]}`, /"t" must be an object, not \[\]/),
  malformed("an empty entry", `{"t":{}}`, /"t" has the unknown dtype undefined/),
  malformed("an unknown key", `{"t":{"x":1,${VALID_ENTRY.slice(1)}}`, /unknown key "x"/),
  malformed(
    "a __proto__ key",
    `{"t":{"__proto__":{"dtype":"F32"},"shape":[2],"data_offsets":[0,8]}}`,
    /unknown key "__proto__"/,
  ),
  malformed("an unknown dtype", `{"t":${entry("[2]", "[0,8]", '"C64"')}}`, /unknown dtype "C64"/),
  malformed(
    "an inherited dtype",
    `{"t":${entry("[2]", "[0,8]", '"constructor"')}}`,
    /unknown dtype "constructor"/,
  ),
  malformed("a lower-case dtype", `{"t":${entry("[2]", "[0,8]", '"f32"')}}`, /unknown dtype "f32"/),
  malformed("a lone surrogate as name", `{"\\ud800":${VALID_ENTRY}}`, /not valid Unicode/),
  malformed("a name of a MiB", `{"${"n".repeat(MIB - 99)}":null}`, /^.{0,300}$/),

  malformed("a negative extent", `{"t":${entry("[-2]", "[0,8]")}}`, /plain non-negative integer/),
  malformed("an extent of minus zero", `{"t":${entry("[-0]", "[0,0]")}}`, /plain non-negative integer/, 0),
  malformed("an extent of 1e400", `{"t":${entry("[1e400]", "[0,8]")}}`, /plain non-negative integer/),
  malformed(
    "a fractional extent that float64 rounds to an integer",
    `{"t":${entry("[2.0000000000000000001]", "[0,8]")}}`,
    /plain non-neg/,
  ),
  malformed("an extent with an exponent", `{"t":${entry("[2E0]", "[0,8]")}}`, /plain non-negative integer/),
  malformed("an extent of NaN", `{"t":${entry("[NaN]", "[0,8]")}}`, /not valid JSON/),
  malformed("an extent of Infinity", `{"t":${entry("[Infinity]", "[0,8]")}}`, /not valid JSON/),
  malformed(
    "an extent of 400 digits",
    `{"t":${entry(`[1${"0".repeat(399)}]`, "[0,8]")}}`,
    /needs a shape of integers/,
  ),
  malformed(
    "an extent of 2^53 + 1",
    `{"t":${entry("[9007199254740993]", "[0,8]")}}`,
    /needs a shape of integers/,
  ),
  malformed("a string extent", `{"t":${entry('["2"]', "[0,8]")}}`, /needs a shape of integers/),
  malformed("a boolean extent", `{"t":${entry("[true]", "[0,8]")}}`, /needs a shape of integers/),
  malformed(
    "a shape that is an object",
    `{"t":${entry('{"length":1}', "[0,8]")}}`,
    /needs a shape of integers/,
  ),
  malformed(
    "a shape product past 2^64",
    `{"t":${entry("[4294967296,4294967296]", "[0,0]")}}`,
    /product of its ext/,
  ),
  malformed("a byte count past 2^53", `{"t":${entry("[4503599627370496]", "[0,8]")}}`, /size in bytes/),

  malformed("one offset", `{"t":${entry("[2]", "[8]")}}`, /needs data_offsets/),
  malformed("three offsets", `{"t":${entry("[2]", "[0,8,8]")}}`, /needs data_offsets/),
  malformed("offsets in reverse order", `{"t":${entry("[2]", "[8,0]")}}`, /begin <= end/),
  malformed(
    "offsets past 2^53",
    `{"t":${entry("[2]", "[9007199254740992,9007199254741000]")}}`,
    /needs data_off/,
  ),
  malformed(
    "a span shorter than its tensor",
    `{"t":${entry("[2,3]", "[0,16]")}}`,
    /spans bytes 0\.\.16 but F32 \[2,3\] needs 24/,
  ),
  malformed("a gap before the first tensor", `{"t":${entry("[2]", "[8,16]")}}`, /leaves a gap/, 16),
  malformed(
    "a gap between tensors",
    `{"t":${VALID_ENTRY},"u":${entry("[2]", "[16,24]")}}`,
    /"u" begins at 16 and leaves a gap/,
    24,
  ),
  malformed(
    "two overlapping tensors",
    `{"t":${VALID_ENTRY},"u":${entry("[2]", "[4,12]")}}`,
    /"u" begins at 4 and overlaps/,
    12,
  ),
  malformed("two tensors on one span", `{"t":${VALID_ENTRY},"u":${VALID_ENTRY}}`, /overlaps/),
  malformed(
    "an empty tensor inside another",
    `{"t":${VALID_ENTRY},"u":${entry("[0]", "[4,4]")}}`,
    /overlaps/,
  ),
  malformed(
    "an empty tensor past the end",
    `{"t":${VALID_ENTRY},"u":${entry("[0]", "[9,9]")}}`,
    /leaves a gap/,
  ),

  malformed("null metadata", `{"__metadata__":null}`, /__metadata__ must be an object/, 0),
  malformed("a metadata array", `{"__metadata__":["a"]}`, /__metadata__ must be an object/, 0),
  malformed("a metadata number", `{"__metadata__":{"a":1}}`, /"a" must hold a string, not 1/, 0),
  malformed("nested metadata", `{"__metadata__":{"a":{"b":"c"}}}`, /"a" must hold a string/, 0),
  malformed("a lone surrogate in metadata", `{"__metadata__":{"a":"\\udfff"}}`, /not valid Unicode/, 0),
  malformed("a tensor as metadata", `{"__metadata__":${VALID_ENTRY}}`, /must hold a string/),

  malformed("data after the last tensor", `{"t":${VALID_ENTRY}}`, /bytes follow the last tensor/, 9),
  malformed("data without tensors", "{}", /bytes follow the last tensor/, 1),
];
