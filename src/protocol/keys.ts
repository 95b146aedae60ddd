/**
 * Keys of `PARE_KEYS`, the same text for host and edge: comma-separated `HEX` or `HEX:SCOPE+SCOPE`, HEX the sha-256 of
 * a key. Neither ever holds a key itself.
 */

import { sha256 } from "./digest.ts";

/**
 * What a key may be allowed. At the host: to solve layers, to manage stored statistics, to read metrics. At the edge: to
 * solve layers, to bring bytes (`uploads`), to start, follow and cancel jobs (`jobs`), to read blobs (`read`), to see
 * the hosts that are alive (`metrics`).
 */
export const SCOPES = ["solve", "hessians", "metrics", "uploads", "jobs", "read"] as const;

/** One thing a key may be allowed. */
export type Scope = (typeof SCOPES)[number];

/** Other spellings of a scope: that of `POST /v1/layers` is also known by the resource. */
const SPELLINGS: Readonly<Record<string, Scope>> = { layers: "solve" };

/** A key, by its digest. */
export interface Key {
  /** sha-256 of the key, 32 bytes. */
  readonly digest: Uint8Array;
  readonly scopes: ReadonlySet<Scope>;
}

/** Reads `PARE_KEYS`. Without scopes a key may do everything. @throws {RangeError} naming the entry at fault, not its digest */
export function parseKeys(text: string): Key[] {
  const entries = text.split(",").map((entry) => entry.trim()).filter((entry) => entry !== "");
  return entries.map((entry, index) => {
    const match = /^([0-9a-f]{64})(?::([a-z+]+))?$/i.exec(entry);
    if (!match) {
      throw new RangeError(
        `PARE_KEYS entry ${index + 1}: must be a sha-256 in hexadecimal, or HEX:SCOPE+SCOPE`,
      );
    }
    const scopes = match[2]?.split("+").map((name) => {
      const scope = SPELLINGS[name] ?? name;
      if (isScope(scope)) return scope;
      throw new RangeError(`PARE_KEYS entry ${index + 1}: scope ${name} is none of ${SCOPES.join(", ")}`);
    });
    return { digest: fromHex(match[1]), scopes: new Set(scopes ?? SCOPES) };
  });
}

/**
 * The key of `Authorization: Bearer KEY`; undefined where there is none or no such key. Compares with every key, each in
 * constant time: how long it takes tells nothing of a digest.
 */
export async function findKey(
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

function isScope(name: string): name is Scope {
  return (SCOPES as readonly string[]).includes(name);
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g)!, (pair) => parseInt(pair, 16));
}

/** Both are 32 bytes. */
function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.reduce((difference, byte, i) => difference | (byte ^ b[i]), 0) === 0;
}
