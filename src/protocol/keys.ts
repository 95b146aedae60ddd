/**
 * The API keys of a host or an edge: a comma-separated list of `HEX` or `HEX:SCOPE+SCOPE`, or a file of such entries.
 * HEX is the sha-256 of a key, so that no server stores the keys themselves.
 */

import { sha256 } from "./digest.ts";
import { Refusal } from "./refusal.ts";

/**
 * The scopes that a key may have.
 *
 * - `solve`: solve layers and blocks (host and edge)
 * - `hessians`: store and delete statistics (host and edge)
 * - `metrics`: read the metrics (host and edge), list the hosts that are alive (edge)
 * - `uploads`: upload blobs (edge)
 * - `jobs`: start, follow and cancel jobs (edge)
 * - `read`: read blobs (edge)
 * - `runs`: prune whole models (host)
 */
export const SCOPES = ["solve", "hessians", "metrics", "uploads", "jobs", "read", "runs"] as const;

export type Scope = (typeof SCOPES)[number];

/** Other accepted names of scopes. `solve` may be written `layers`, because it gives access to `/v1/layers`. */
const SCOPE_ALIASES: Readonly<Record<string, Scope>> = { layers: "solve" };

export interface Key {
  /** The sha-256 of the key, 32 bytes. */
  readonly digest: Uint8Array;
  readonly scopes: ReadonlySet<Scope>;
}

/** The keys that a server accepts at this moment. If there are none, it accepts every request. */
export interface KeySource {
  readonly current: readonly Key[];
  /** The owner of what requests without a key store. Default: "", which no API key has. */
  readonly owner?: string;
}

/**
 * Parses `PARE_KEYS`. A key without scopes has all of them.
 * @throws {RangeError} naming the position of the invalid entry, never its digest
 */
export function parseKeys(text: string): Key[] {
  return entriesOf(text).map((entry, index) => parseKey(entry, `PARE_KEYS entry ${index + 1}`));
}

/**
 * Parses a file of keys. A line has entries in the form of `PARE_KEYS`, and may end with a comment that starts with `#`.
 * @throws {RangeError} naming the line of the invalid entry, never its digest, or if the file has no key
 */
export function parseKeyFile(text: string): Key[] {
  const keys = text.split(/\r?\n/).flatMap((line, index) =>
    entriesOf(line.replace(/#.*/, "")).map((entry) => parseKey(entry, `line ${index + 1}`))
  );
  if (keys.length === 0) throw new RangeError("has no key; a host without keys would accept every request");
  return keys;
}

export function entriesOf(list: string): string[] {
  return list.split(",").map((entry) => entry.trim()).filter((entry) => entry !== "");
}

/** Parses `HEX` or `HEX:SCOPE+SCOPE`. `place` names the entry in errors. */
function parseKey(entry: string, place: string): Key {
  const match = /^([0-9a-f]{64})(?::([a-z+]+))?$/i.exec(entry);
  if (!match) throw new RangeError(`${place}: must be a sha-256 in hexadecimal, or HEX:SCOPE+SCOPE`);
  const scopes = match[2]?.split("+").map((name) => {
    const scope = SCOPE_ALIASES[name] ?? name;
    if (isScope(scope)) return scope;
    // Nothing is quoted, because a key may stand here by mistake.
    throw new RangeError(`${place}: must have scopes out of ${SCOPES.join(", ")}`);
  });
  return { digest: Uint8Array.fromHex(match[1]), scopes: new Set(scopes ?? SCOPES) };
}

/** Returns the accepted key of `Authorization: Bearer KEY`, or undefined. Digests are compared in constant time. */
async function findKey(
  keys: readonly Key[],
  authorization: string | undefined,
): Promise<Key | undefined> {
  const [, token] = /^Bearer +(\S+) *$/i.exec(authorization ?? "") ?? [];
  if (token === undefined) return undefined;
  const digest = await sha256(new TextEncoder().encode(token));
  let found: Key | undefined;
  for (const key of keys) if (equalBytes(key.digest, digest)) found = key;
  return found;
}

/**
 * Returns the accepted key of a request.
 * @param server the server that checks, for the error message
 * @throws {Refusal} `unauthorized` if the key is missing or not accepted, `forbidden` if the key lacks the scope
 */
export async function requireScope(
  keys: readonly Key[],
  authorization: string | undefined,
  scope: Scope,
  server: "host" | "edge",
): Promise<Key> {
  const key = await findKey(keys, authorization);
  if (!key) throw new Refusal("unauthorized", `send Authorization: Bearer with a key of this ${server}`);
  if (!key.scopes.has(scope)) throw new Refusal("forbidden", `the key does not have the scope ${scope}`);
  return key;
}

function isScope(name: string): name is Scope {
  return (SCOPES as readonly string[]).includes(name);
}

/** Compares two arrays of 32 bytes in constant time. */
function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.reduce((difference, byte, i) => difference | (byte ^ b[i]), 0) === 0;
}
