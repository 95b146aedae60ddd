/**
 * Hostile safetensors files, made on demand, each with the error that must meet it. Run one against anything
 * that reads a body: `for (const { name, file } of SAFETENSORS_ATTACKS) …file()`. None is larger than a few MiB.
 */

import { MAX_HEADER_BYTES } from "../../src/safetensors/header.ts";
import type { SafetensorsErrorKind } from "../../src/safetensors/error.ts";

/** A file no reader may accept. */
export interface SafetensorsAttack {
  readonly name: string;
  readonly kind: SafetensorsErrorKind;
  /** What the error's message must say. */
  readonly message: RegExp;
  file(): Uint8Array<ArrayBuffer>;
}

/** A file of any header text and `dataBytes` zeros, with the length field true unless given. */
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

/** The text of an entry with one part replaced. */
function entry(shape: string, offsets: string, dtype: string = '"F32"'): string {
  return `{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}`;
}

const SOUND = entry("[2]", "[0,8]");

function bad(
  name: string,
  header: string | Uint8Array,
  message: RegExp,
  dataBytes: number = 8,
): SafetensorsAttack {
  return { name, kind: "malformed", message, file: () => rawFile(header, dataBytes) };
}

function short(name: string, file: () => Uint8Array<ArrayBuffer>): SafetensorsAttack {
  return { name, kind: "truncated", message: /file ends at byte \d+ but needs \d+/, file };
}

function declares(name: string, length: bigint): SafetensorsAttack {
  const message = new RegExp(`length ${length} is above the limit of ${MAX_HEADER_BYTES}`);
  return { name, kind: "malformed", message, file: () => rawFile(`{"t":${SOUND}}`, 8, length) };
}

const MIB = 1 << 20;

/** Every attack. */
export const SAFETENSORS_ATTACKS: readonly SafetensorsAttack[] = [
  short("nothing", () => new Uint8Array(0)),
  short("half a length", () => new Uint8Array(5)),
  short("a length alone", () => rawFile("", 0, 64n)),
  short("a header cut short", () => rawFile(`{"t":${SOUND}`, 0, 200n)),
  short("data cut short", () => rawFile(`{"t":${SOUND}}`, 7)),
  short(
    "petabytes promised",
    () => rawFile(`{"t":${entry("[1125899906842624]", "[0,4503599627370496]")}}`, 8),
  ),

  declares("a length of 2^64 - 1", 2n ** 64n - 1n),
  declares("a length that is negative in two's complement", 2n ** 63n),
  declares("a length that rounds as a float64", 2n ** 53n + 1n),
  declares("a length that is small in its low 32 bits", 2n ** 32n + 2n),
  declares("a length one past the cap", BigInt(MAX_HEADER_BYTES) + 1n),

  bad("an empty header", "", /must start with '{'/),
  bad("a leading space", ` {"t":${SOUND}}`, /must start with '{'/),
  bad("a byte order mark", `\ufeff{"t":${SOUND}}`, /must start with '{'/),
  bad("an array", "[]", /must start with '{'/),
  bad("two objects", `{"t":${SOUND}}{}`, /not valid JSON/),
  bad("a NUL after the object", `{"t":${SOUND}}\0`, /not valid JSON/),
  bad("a trailing comma", `{"t":${SOUND},}`, /not valid JSON/),
  bad("an open string", `{"t`, /not valid JSON/),
  bad("an open escape", `{"t\\`, /not valid JSON/),
  bad("bad UTF-8", Uint8Array.of(0x7b, 0x22, 0xc0, 0x80, 0x22, 0x7d), /not valid UTF-8/),
  bad("a UTF-8 surrogate", Uint8Array.of(0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x7d), /not valid UTF-8/),
  bad("closers without openers", "{}}}]]]", /not valid JSON/),

  bad("a MiB of nested arrays", `{"t":${"[".repeat(MIB - 6)}`, /nests deeper than 3/),
  bad("a MiB of nested objects", '{"t":'.repeat(MIB / 5 - 1), /nests deeper than 3/),
  bad("a closed nest", `{"t":${"[".repeat(9999)}${"]".repeat(9999)}}`, /nests deeper than 3/),

  bad("a repeated tensor", `{"t":${SOUND},"t":${SOUND}}`, /repeats the key "t"/),
  bad("a tensor repeated through an escape", `{"t":${SOUND},"\\u0074":${SOUND}}`, /repeats the key "t"/),
  bad("a tensor repeated after odd spaces", `{"t"\t:${SOUND},"t"\r\n : ${SOUND}}`, /repeats the key "t"/),
  bad("a repeated dtype", `{"t":{"dtype":"F32",${SOUND.slice(1)}}`, /repeats the key "dtype"/),
  bad("repeated metadata", `{"__metadata__":{"a":"1","a":"2"}}`, /repeats the key "a"/, 0),
  bad("metadata twice", `{"__metadata__":{},"__metadata__":{}}`, /repeats the key "__metadata__"/, 0),
  bad("__proto__ twice", `{"__proto__":${SOUND},"__proto__":${SOUND}}`, /repeats the key "__proto__"/),

  bad("a null entry", `{"t":null}`, /"t" must be an object, not null/),
  bad("an array entry", `{"t":[]}`, /"t" must be an object, not \[\]/),
  bad("an empty entry", `{"t":{}}`, /"t" has the unknown dtype undefined/),
  bad("an unknown key", `{"t":{"x":1,${SOUND.slice(1)}}`, /unknown key "x"/),
  bad(
    "a __proto__ key",
    `{"t":{"__proto__":{"dtype":"F32"},"shape":[2],"data_offsets":[0,8]}}`,
    /unknown key "__proto__"/,
  ),
  bad("an unknown dtype", `{"t":${entry("[2]", "[0,8]", '"C64"')}}`, /unknown dtype "C64"/),
  bad("an inherited dtype", `{"t":${entry("[2]", "[0,8]", '"constructor"')}}`, /unknown dtype "constructor"/),
  bad("a lower-case dtype", `{"t":${entry("[2]", "[0,8]", '"f32"')}}`, /unknown dtype "f32"/),
  bad("a lone surrogate as name", `{"\\ud800":${SOUND}}`, /not valid Unicode/),
  bad("a MiB of name", `{"${"n".repeat(MIB - 99)}":null}`, /^.{0,300}$/),

  bad("a negative extent", `{"t":${entry("[-2]", "[0,8]")}}`, /plain non-negative integer/),
  bad("minus zero", `{"t":${entry("[-0]", "[0,0]")}}`, /plain non-negative integer/, 0),
  bad("1e400", `{"t":${entry("[1e400]", "[0,8]")}}`, /plain non-negative integer/),
  bad("a fraction float64 rounds off", `{"t":${entry("[2.0000000000000000001]", "[0,8]")}}`, /plain non-neg/),
  bad("an exponent", `{"t":${entry("[2E0]", "[0,8]")}}`, /plain non-negative integer/),
  bad("NaN", `{"t":${entry("[NaN]", "[0,8]")}}`, /not valid JSON/),
  bad("Infinity", `{"t":${entry("[Infinity]", "[0,8]")}}`, /not valid JSON/),
  bad("a 400-digit extent", `{"t":${entry(`[1${"0".repeat(399)}]`, "[0,8]")}}`, /needs a shape of integers/),
  bad("2^53 + 1", `{"t":${entry("[9007199254740993]", "[0,8]")}}`, /needs a shape of integers/),
  bad("a string extent", `{"t":${entry('["2"]', "[0,8]")}}`, /needs a shape of integers/),
  bad("a boolean extent", `{"t":${entry("[true]", "[0,8]")}}`, /needs a shape of integers/),
  bad("a shape object", `{"t":${entry('{"length":1}', "[0,8]")}}`, /needs a shape of integers/),
  bad(
    "a shape product past 2^64",
    `{"t":${entry("[4294967296,4294967296]", "[0,0]")}}`,
    /product of its ext/,
  ),
  bad("a byte count past 2^53", `{"t":${entry("[4503599627370496]", "[0,8]")}}`, /size in bytes/),

  bad("one offset", `{"t":${entry("[2]", "[8]")}}`, /needs data_offsets/),
  bad("three offsets", `{"t":${entry("[2]", "[0,8,8]")}}`, /needs data_offsets/),
  bad("offsets backwards", `{"t":${entry("[2]", "[8,0]")}}`, /begin <= end/),
  bad("offsets past 2^53", `{"t":${entry("[2]", "[9007199254740992,9007199254741000]")}}`, /needs data_off/),
  bad(
    "a span too short",
    `{"t":${entry("[2,3]", "[0,16]")}}`,
    /spans bytes 0\.\.16 but F32 \[2,3\] needs 24/,
  ),
  bad("a gap at the start", `{"t":${entry("[2]", "[8,16]")}}`, /leaves a gap/, 16),
  bad("a gap", `{"t":${SOUND},"u":${entry("[2]", "[16,24]")}}`, /"u" begins at 16 and leaves a gap/, 24),
  bad("an overlap", `{"t":${SOUND},"u":${entry("[2]", "[4,12]")}}`, /"u" begins at 4 and overlaps/, 12),
  bad("two tensors on one span", `{"t":${SOUND},"u":${SOUND}}`, /overlaps/),
  bad("an empty tensor inside another", `{"t":${SOUND},"u":${entry("[0]", "[4,4]")}}`, /overlaps/),
  bad("an empty tensor past the end", `{"t":${SOUND},"u":${entry("[0]", "[9,9]")}}`, /leaves a gap/),

  bad("null metadata", `{"__metadata__":null}`, /__metadata__ must be an object/, 0),
  bad("a metadata array", `{"__metadata__":["a"]}`, /__metadata__ must be an object/, 0),
  bad("a metadata number", `{"__metadata__":{"a":1}}`, /"a" must hold a string, not 1/, 0),
  bad("nested metadata", `{"__metadata__":{"a":{"b":"c"}}}`, /"a" must hold a string/, 0),
  bad("a lone surrogate in metadata", `{"__metadata__":{"a":"\\udfff"}}`, /not valid Unicode/, 0),
  bad("a tensor as metadata", `{"__metadata__":${SOUND}}`, /must hold a string/),

  bad("data after the last tensor", `{"t":${SOUND}}`, /bytes follow the last tensor/, 9),
  bad("data without tensors", "{}", /bytes follow the last tensor/, 1),
];
