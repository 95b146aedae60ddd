/** Generates damaged copies of files. */

import fc from "fast-check";

/** One change of a file. `at` is a position as a fraction of the length of the file. */
interface Edit {
  readonly kind: "flip a bit" | "set a byte" | "insert" | "remove" | "cut off" | "copy";
  readonly at: number;
  readonly value: number;
  readonly length: number;
}

const edit: fc.Arbitrary<Edit> = fc.record({
  kind: fc.constantFrom("flip a bit", "set a byte", "insert", "remove", "cut off", "copy"),
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  value: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x22, 0x2c, 0x30, 0x5b, 0x7b, 0x7f, 0x80, 0xff)),
  length: fc.integer({ min: 1, max: 12 }),
});

function applyEdit(bytes: Uint8Array, { kind, at, value, length }: Edit): Uint8Array {
  const start = Math.floor(at * bytes.length), before = bytes.subarray(0, start);
  if (kind === "cut off") return before;
  if (kind === "insert") return join(before, new Uint8Array(length).fill(value), bytes.subarray(start));
  if (kind === "remove") return join(before, bytes.subarray(start + length));
  if (kind === "copy") return join(bytes.subarray(0, start + length), bytes.subarray(start));
  const changed = bytes.slice();
  if (changed.length > 0) changed[start] = kind === "flip a bit" ? changed[start] ^ (1 << value % 8) : value;
  return changed;
}

function join(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Generates copies of the generated files, each with up to `maxEdits` changes. A copy may be undamaged. */
export function damagedBytes(
  files: fc.Arbitrary<Uint8Array>,
  maxEdits = 4,
): fc.Arbitrary<Uint8Array<ArrayBuffer>> {
  return fc.tuple(files, fc.array(edit, { maxLength: maxEdits }))
    .map(([file, edits]) => new Uint8Array(edits.reduce(applyEdit, file)));
}

/** Generates damaged copies of texts in UTF-8. */
export function damagedText(texts: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const encoded = texts.map((text) => new TextEncoder().encode(text));
  return damagedBytes(encoded).map((bytes) => new TextDecoder().decode(bytes));
}

/** Generates damaged copies of the texts, and other texts. */
export function near(...texts: string[]): fc.Arbitrary<string> {
  return fc.oneof({ arbitrary: damagedText(fc.constantFrom(...texts)), weight: 4 }, fc.string());
}
