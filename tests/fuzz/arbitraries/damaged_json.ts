/** Generates damaged copies of JSON documents: valid JSON with wrong members. */

import fc from "fast-check";

/** Values that often break parsers, and random JSON. */
export const hostileValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(null, true, false, 0, -0, 1, -1, 0.5, 255, 2 ** 31, 2 ** 53, -(2 ** 53), 1e308, 1e-320),
  fc.constantFrom("", " ", "0", "1", "-1", "1e400", "NaN", "null", "__proto__", "constructor", "toString"),
  fc.constantFrom(
    "../x",
    "\0",
    "\ud800",
    "\u001b[2J",
    "é".normalize("NFD"),
    "x".repeat(5000),
    "sha256:" + "0".repeat(64),
  ),
  fc.constantFrom<unknown>([], {}, [[]], [null], [1, 2, 3], { a: 1 }, Array(300).fill(0)),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.string(),
  fc.jsonValue({ maxDepth: 2 }),
);

/** One change of a document. `at` chooses the member. */
interface Edit {
  readonly kind: "replace" | "remove" | "add" | "move";
  readonly at: number;
  readonly key: string;
  readonly value: unknown;
}

const edit: fc.Arbitrary<Edit> = fc.record({
  kind: fc.constantFrom("replace", "replace", "replace", "remove", "add", "move"),
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  key: fc.oneof(fc.constantFrom("type", "__proto__", "constructor", "", "extra"), fc.string()),
  value: hostileValue,
});

type Container = Record<string, unknown>;

/** Lists every member of the document as its container and key. */
function members(value: unknown): [container: Container, key: string][] {
  if (typeof value !== "object" || value === null) return [];
  const container = value as Container;
  return Object.keys(container).flatMap((
    key,
  ) => [[container, key] as [Container, string], ...members(container[key])]);
}

function applyEdit(document: unknown, { kind, at, key, value }: Edit): void {
  const all = members(document);
  if (all.length === 0) return;
  const [container, name] = all[Math.floor(at * all.length)];
  // The value is copied, because a later change must not reach the constants, nor close a circle.
  const set = (key: string, value: unknown) =>
    Object.defineProperty(container, key, {
      value: structuredClone(value),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  if (kind === "replace") set(name, value);
  else if (kind === "add") set(Array.isArray(container) ? String(container.length) : key, value);
  else if (kind === "move" && !Array.isArray(container)) set(key, container[name]);
  else if (Array.isArray(container)) container.splice(Number(name), 1);
  else delete container[name];
}

/** Generates copies of the documents, each with up to `maxEdits` changes, as JSON.parse would return them. A copy may be undamaged. */
export function damagedJson<T>(documents: readonly T[], maxEdits = 3): fc.Arbitrary<Record<string, unknown>> {
  return fc.tuple(fc.constantFrom(...documents), fc.array(edit, { maxLength: maxEdits })).map(
    ([document, edits]) => {
      const copy = structuredClone(document);
      for (const change of edits) applyEdit(copy, change);
      return JSON.parse(JSON.stringify(copy));
    },
  );
}
