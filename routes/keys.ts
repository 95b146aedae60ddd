/**
 * Keys of `PARE_KEYS`: comma-separated `HEX` or `HEX:SCOPE+SCOPE`, HEX the sha-256 of a key. The host never holds a key itself.
 */

/** What a key may be allowed: to solve layers, to manage stored statistics, to read metrics. */
export const SCOPES = ["solve", "hessians", "metrics"] as const;

/** One thing a key may be allowed. */
export type Scope = (typeof SCOPES)[number];

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
    const names = match[2]?.split("+") ?? SCOPES;
    for (const name of names) {
      if (!isScope(name)) {
        throw new RangeError(`PARE_KEYS entry ${index + 1}: scope ${name} is none of ${SCOPES.join(", ")}`);
      }
    }
    return { digest: Uint8Array.fromHex(match[1]), scopes: new Set(names as Scope[]) };
  });
}

function isScope(name: string): name is Scope {
  return (SCOPES as readonly string[]).includes(name);
}
