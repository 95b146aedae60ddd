/**
 * Hostile safetensors files, each with the error that the reader must throw for it. The files are created on demand by
 * `file()`, so any code that reads a safetensors body can be tested with them:
 * `for (const { name, file } of SAFETENSORS_ATTACKS) …`. No file is larger than a few MiB.
 */

import { MAX_HEADER_BYTES } from "../../src/safetensors/header.ts";
import type { SafetensorsErrorKind } from "../../src/safetensors/error.ts";

/** A file that every reader must refuse. */
export interface SafetensorsAttack {
  /** A short description that completes the sentence "The reader refuses …". */
  readonly name: string;
  readonly kind: SafetensorsErrorKind;
  /** A pattern that the error message must match. */
  readonly message: RegExp;
  /** Creates the file. */
  file(): Uint8Array<ArrayBuffer>;
}

/**
 * Builds a file from an arbitrary header and `dataBytes` zeros. `declaredLength` is the value of the length
 * field. If it is null, the field contains the correct length.
 */
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

/** The JSON of a tensor entry. The arguments are inserted as they are, so they need not be valid JSON. */
function entry(shape: string, offsets: string, dtype: string = '"F32"'): string {
  return `{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}`;
}

/** A valid entry of a tensor with 8 bytes of data. */
const VALID = entry("[2]", "[0,8]");

/** An attack with this header, which is malformed, and `dataBytes` zeros of data. */
function malformed(
  name: string,
  header: string | Uint8Array,
  message: RegExp,
  dataBytes: number = 8,
): SafetensorsAttack {
  return { name, kind: "malformed", message, file: () => rawFile(header, dataBytes) };
}

/** An attack whose file ends too early. */
function truncated(name: string, file: () => Uint8Array<ArrayBuffer>): SafetensorsAttack {
  return { name, kind: "truncated", message: /file ends at byte \d+ but needs \d+/, file };
}

/** An attack whose length field declares a header of `length` bytes. */
function withLength(name: string, length: bigint): SafetensorsAttack {
  const message = new RegExp(`length ${length} is above the limit of ${MAX_HEADER_BYTES}`);
  return { name, kind: "malformed", message, file: () => rawFile(`{"t":${VALID}}`, 8, length) };
}

const MIB = 1 << 20;

/** All attacks. */
export const SAFETENSORS_ATTACKS: readonly SafetensorsAttack[] = [
  truncated("an empty file", () => new Uint8Array(0)),
  truncated("a file that ends inside the length field", () => new Uint8Array(5)),
  truncated("a length field without a header", () => rawFile("", 0, 64n)),
  truncated("a truncated header", () => rawFile(`{"t":${VALID}`, 0, 200n)),
  truncated("truncated data", () => rawFile(`{"t":${VALID}}`, 7)),
  truncated(
    "a header that declares petabytes of data",
    () => rawFile(`{"t":${entry("[1125899906842624]", "[0,4503599627370496]")}}`, 8),
  ),

  withLength("a header length of 2^64 - 1", 2n ** 64n - 1n),
  withLength("a header length that is negative in two's complement", 2n ** 63n),
  withLength("a header length that a float64 cannot represent", 2n ** 53n + 1n),
  withLength("a header length whose low 32 bits are small", 2n ** 32n + 2n),
  withLength("a header length one byte above the limit", BigInt(MAX_HEADER_BYTES) + 1n),

  malformed("an empty header", "", /must start with '{'/),
  malformed("a header with a leading space", ` {"t":${VALID}}`, /must start with '{'/),
  malformed("a header with a byte order mark", `\ufeff{"t":${VALID}}`, /must start with '{'/),
  malformed("an array as the header", "[]", /must start with '{'/),
  malformed("a second object after the header", `{"t":${VALID}}{}`, /not valid JSON/),
  malformed("a NUL character after the header", `{"t":${VALID}}\0`, /not valid JSON/),
  malformed("a trailing comma", `{"t":${VALID},}`, /not valid JSON/),
  malformed("a string without an end", `{"t`, /not valid JSON/),
  malformed("an escape without an end", `{"t\\`, /not valid JSON/),
  malformed("invalid UTF-8", Uint8Array.of(0x7b, 0x22, 0xc0, 0x80, 0x22, 0x7d), /not valid UTF-8/),
  malformed(
    "a surrogate encoded in UTF-8",
    Uint8Array.of(0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x7d),
    /not valid UTF-8/,
  ),
  malformed("closing brackets without opening brackets", "{}}}]]]", /not valid JSON/),

  malformed("one MiB of nested arrays", `{"t":${"[".repeat(MIB - 6)}`, /nests deeper than 3/),
  malformed("one MiB of nested objects", '{"t":'.repeat(MIB / 5 - 1), /nests deeper than 3/),
  malformed(
    "deeply nested arrays that are all closed",
    `{"t":${"[".repeat(9999)}${"]".repeat(9999)}}`,
    /nests deeper than 3/,
  ),

  malformed("a repeated tensor name", `{"t":${VALID},"t":${VALID}}`, /repeats the key "t"/),
  malformed(
    "a tensor name repeated with an escape",
    `{"t":${VALID},"\\u0074":${VALID}}`,
    /repeats the key "t"/,
  ),
  malformed(
    "a tensor name repeated with unusual white space",
    `{"t"\t:${VALID},"t"\r\n : ${VALID}}`,
    /repeats the key "t"/,
  ),
  malformed("a repeated dtype key", `{"t":{"dtype":"F32",${VALID.slice(1)}}`, /repeats the key "dtype"/),
  malformed("a repeated metadata key", `{"__metadata__":{"a":"1","a":"2"}}`, /repeats the key "a"/, 0),
  malformed(
    "two metadata objects",
    `{"__metadata__":{},"__metadata__":{}}`,
    /repeats the key "__metadata__"/,
    0,
  ),
  malformed(
    "a repeated __proto__ key",
    `{"__proto__":${VALID},"__proto__":${VALID}}`,
    /repeats the key "__proto__"/,
  ),

  malformed("null as the entry of a tensor", `{"t":null}`, /"t" must be an object, not null/),
  malformed("an array as the entry of a tensor", `{"t":[]}`, /"t" must be an object, not \[\]/),
  malformed("an empty entry of a tensor", `{"t":{}}`, /"t" has the unknown dtype undefined/),
  malformed("an unknown key in an entry", `{"t":{"x":1,${VALID.slice(1)}}`, /unknown key "x"/),
  malformed(
    "a __proto__ key in an entry",
    `{"t":{"__proto__":{"dtype":"F32"},"shape":[2],"data_offsets":[0,8]}}`,
    /unknown key "__proto__"/,
  ),
  malformed("an unknown dtype", `{"t":${entry("[2]", "[0,8]", '"C64"')}}`, /unknown dtype "C64"/),
  malformed(
    "a dtype that is an inherited property name",
    `{"t":${entry("[2]", "[0,8]", '"constructor"')}}`,
    /unknown dtype "constructor"/,
  ),
  malformed("a lower-case dtype", `{"t":${entry("[2]", "[0,8]", '"f32"')}}`, /unknown dtype "f32"/),
  malformed("a lone surrogate as a tensor name", `{"\\ud800":${VALID}}`, /not valid Unicode/),
  malformed("a tensor name of one MiB", `{"${"n".repeat(MIB - 99)}":null}`, /^.{0,300}$/),

  malformed("a negative extent", `{"t":${entry("[-2]", "[0,8]")}}`, /plain non-negative integer/),
  malformed("minus zero as an extent", `{"t":${entry("[-0]", "[0,0]")}}`, /plain non-negative integer/, 0),
  malformed("1e400 as an extent", `{"t":${entry("[1e400]", "[0,8]")}}`, /plain non-negative integer/),
  malformed(
    "an extent whose fraction is lost in float64",
    `{"t":${entry("[2.0000000000000000001]", "[0,8]")}}`,
    /plain non-neg/,
  ),
  malformed("an extent with an exponent", `{"t":${entry("[2E0]", "[0,8]")}}`, /plain non-negative integer/),
  malformed("NaN as an extent", `{"t":${entry("[NaN]", "[0,8]")}}`, /not valid JSON/),
  malformed("Infinity as an extent", `{"t":${entry("[Infinity]", "[0,8]")}}`, /not valid JSON/),
  malformed(
    "an extent of 400 digits",
    `{"t":${entry(`[1${"0".repeat(399)}]`, "[0,8]")}}`,
    /needs a shape of integers/,
  ),
  malformed(
    "2^53 + 1 as an extent",
    `{"t":${entry("[9007199254740993]", "[0,8]")}}`,
    /needs a shape of integers/,
  ),
  malformed("a string as an extent", `{"t":${entry('["2"]', "[0,8]")}}`, /needs a shape of integers/),
  malformed("a boolean as an extent", `{"t":${entry("[true]", "[0,8]")}}`, /needs a shape of integers/),
  malformed("an object as the shape", `{"t":${entry('{"length":1}', "[0,8]")}}`, /needs a shape of integers/),
  malformed(
    "a product of extents above 2^64",
    `{"t":${entry("[4294967296,4294967296]", "[0,0]")}}`,
    /product of the ext/,
  ),
  malformed("a size above 2^53 bytes", `{"t":${entry("[4503599627370496]", "[0,8]")}}`, /size in bytes/),

  malformed("a single data offset", `{"t":${entry("[2]", "[8]")}}`, /needs data_offsets/),
  malformed("three data offsets", `{"t":${entry("[2]", "[0,8,8]")}}`, /needs data_offsets/),
  malformed("an end offset before the begin offset", `{"t":${entry("[2]", "[8,0]")}}`, /begin <= end/),
  malformed(
    "data offsets above 2^53",
    `{"t":${entry("[2]", "[9007199254740992,9007199254741000]")}}`,
    /needs data_off/,
  ),
  malformed(
    "less data than the shape needs",
    `{"t":${entry("[2,3]", "[0,16]")}}`,
    /spans bytes 0\.\.16 but F32 \[2,3\] needs 24/,
  ),
  malformed("a gap before the first tensor", `{"t":${entry("[2]", "[8,16]")}}`, /leaves a gap/, 16),
  malformed(
    "a gap between two tensors",
    `{"t":${VALID},"u":${entry("[2]", "[16,24]")}}`,
    /"u" begins at 16 and leaves a gap/,
    24,
  ),
  malformed(
    "two overlapping tensors",
    `{"t":${VALID},"u":${entry("[2]", "[4,12]")}}`,
    /"u" begins at 4 and overlaps/,
    12,
  ),
  malformed("two tensors with the same data offsets", `{"t":${VALID},"u":${VALID}}`, /overlaps/),
  malformed("an empty tensor inside another", `{"t":${VALID},"u":${entry("[0]", "[4,4]")}}`, /overlaps/),
  malformed(
    "an empty tensor after the end of the data",
    `{"t":${VALID},"u":${entry("[0]", "[9,9]")}}`,
    /leaves a gap/,
  ),

  malformed("null as the metadata", `{"__metadata__":null}`, /__metadata__ must be an object/, 0),
  malformed("an array as the metadata", `{"__metadata__":["a"]}`, /__metadata__ must be an object/, 0),
  malformed("a number as a metadata value", `{"__metadata__":{"a":1}}`, /"a" must hold a string, not 1/, 0),
  malformed("an object as a metadata value", `{"__metadata__":{"a":{"b":"c"}}}`, /"a" must hold a string/, 0),
  malformed("a lone surrogate in metadata", `{"__metadata__":{"a":"\\udfff"}}`, /not valid Unicode/, 0),
  malformed("a tensor entry as the metadata", `{"__metadata__":${VALID}}`, /must hold a string/),

  malformed("data after the last tensor", `{"t":${VALID}}`, /bytes follow the last tensor/, 9),
  malformed("data in a file without tensors", "{}", /bytes follow the last tensor/, 1),
];
