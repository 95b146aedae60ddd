/**
 * The names by which clients may address a host, in the header `Host`. The check protects a host that listens on
 * loopback without keys from pages on the internet. The owner of a page can point the page's name to 127.0.0.1 (DNS
 * rebinding), so that the browser regards the host as the server of the page. The requests of the page still carry its
 * own name, which is refused.
 */

import { shortened } from "../base/texts.ts";
import { entriesOf } from "./keys.ts";
import { Refusal } from "./refusal.ts";

/** A name or an address, and optionally a port. Other text, such as a path, would change how the request is routed. */
const HOST_HEADER = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/i;

/**
 * Parses `PARE_HOSTS`, a comma-separated list of names and addresses without ports, such as
 * `pare.example.com,10.0.0.7,[fd00::7]`.
 * @throws {RangeError} naming the position of a malformed entry
 */
export function parseHostNames(text: string): string[] {
  const entries = entriesOf(text.toLowerCase());
  for (const [index, entry] of entries.entries()) {
    if (HOST_HEADER.exec(entry)?.[1] === entry) continue;
    throw new RangeError(
      `PARE_HOSTS entry ${index + 1}: must be a name or an address without a port, got "${shortened(entry)}"`,
    );
  }
  return entries;
}

/**
 * Checks the Host header of a request, or the authority of its URL.
 * @param names the accepted names besides the names of loopback, in lowercase. Undefined accepts every well-formed name
 * @throws {Refusal} `invalid_host`
 */
export function requireHostName(header: string, names: readonly string[] | undefined): void {
  const name = HOST_HEADER.exec(header)?.[1].toLowerCase();
  if (name === undefined) {
    throw new Refusal("invalid_host", `Host ${shortened(header) || "(none)"}: must be a name or an address`);
  }
  if (names === undefined || isLoopbackName(name) || names.includes(name)) return;
  throw new Refusal(
    "invalid_host",
    `Host ${shortened(header)}: is not a name of this server. PARE_HOSTS adds names`,
  );
}

/** Whether `name` always belongs to the machine itself. */
export function isLoopbackName(name: string): boolean {
  return name === "localhost" || name.endsWith(".localhost") || name === "[::1]" || name === "::1" ||
    /^127(\.\d{1,3}){3}$/.test(name);
}
