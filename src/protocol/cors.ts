/**
 * Cross-origin requests (CORS). Host and edge read the allowed origins from `PARE_CORS_ORIGINS`. Without it, browsers
 * let no page of another origin use the API.
 */

import { shortened } from "../base/texts.ts";
import { REQUEST_ID_HEADER } from "./headers.ts";
import { entriesOf } from "./keys.ts";

/** The number of seconds for which a browser may remember the answer to a preflight request. */
const PREFLIGHT_SECONDS = 600;

/**
 * Parses `PARE_CORS_ORIGINS`, a comma-separated list of origins such as `https://app.example.com`.
 * @throws {RangeError} naming the position of an entry that is not an origin. `*` is refused, because it would let
 *   every page on the internet use a host that listens on loopback without keys
 */
export function parseOrigins(text: string): string[] {
  const entries = entriesOf(text);
  for (const [index, entry] of entries.entries()) {
    if (URL.canParse(entry) && /^https?:/.test(entry) && new URL(entry).origin === entry) continue;
    throw new RangeError(
      `PARE_CORS_ORIGINS entry ${
        index + 1
      }: must be an origin such as https://app.example.com, without a path, got "${shortened(entry)}"`,
    );
  }
  return entries;
}

/** Returns the options of Hono's middleware `cors` for pages of these origins. No server uses cookies. */
export function corsOptions(origins: string[]) {
  return {
    origin: origins,
    allowMethods: ["GET", "HEAD", "POST", "PUT", "DELETE"],
    allowHeaders: [
      "Authorization",
      "Content-Type",
      "Idempotency-Key",
      "If-None-Match",
      "Range",
      REQUEST_ID_HEADER,
    ],
    exposeHeaders: [
      "Pare-Report",
      "Server-Timing",
      "Retry-After",
      REQUEST_ID_HEADER,
      "Location",
      "ETag",
      "Content-Range",
    ],
    maxAge: PREFLIGHT_SECONDS,
  };
}
