/**
 * Tickets authenticate requests between an edge and its hosts. A ticket is an HMAC-SHA256, under a secret that both sides share, over the
 * receiver, the method, the path, the sha-256 of the body, an expiry time and a nonce. It is valid for one request at one receiver, once,
 * within a minute. It is sent as `Authorization: Pare-Ticket EXPIRES.NONCE.MAC`. Tickets do not encrypt anything; TLS does.
 */

import { sha256 } from "./digest.ts";
import { Refusal } from "./refusal.ts";

/** The scheme of the Authorization header. */
export const TICKET_SCHEME = "Pare-Ticket";

/** The receiver of a host's tickets. Hosts have ids, but an edge has none. */
export const EDGE_AUDIENCE = "edge";

/** The lifetime of a ticket: long enough for slow connections and clocks that differ a little, short enough that a stolen ticket soon expires. */
export const TICKET_MILLISECONDS = 60_000;

/** How far the signer's clock may be ahead. It limits how long a nonce must be remembered. */
const SKEW_MILLISECONDS = 30_000;

/** The shortest secret that is accepted, in bytes: the length of the MAC. */
const MIN_SECRET_BYTES = 32;

const WIRE = /^(\d{1,15})\.([0-9a-f]{32})\.([0-9a-f]{64})$/;

/** The request that a ticket is bound to. */
export interface TicketSubject {
  /** The id of the receiving host, or `EDGE_AUDIENCE`. */
  readonly audience: string;
  readonly method: string;
  /** The path below the receiver's base URL, such as `/v1/tasks`. */
  readonly path: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** Returns the value of the Authorization header for one request. `now` is in milliseconds since 1970. @throws {RangeError} if the secret is too short */
export async function signTicket(secret: string, subject: TicketSubject, now: number): Promise<string> {
  const expires = now + TICKET_MILLISECONDS;
  const nonce = crypto.getRandomValues(new Uint8Array(16)).toHex();
  const mac = await crypto.subtle.sign("HMAC", await keyOf(secret), await message(subject, expires, nonce));
  return `${TICKET_SCHEME} ${expires}.${nonce}.${new Uint8Array(mac).toHex()}`;
}

/**
 * Checks a ticket and remembers its nonce in `nonces`.
 * @throws {Refusal} `unauthorized` if there is no ticket, or if it is malformed, expired, used, or bound to another request or receiver
 * @throws {RangeError} if the secret is too short
 */
export async function verifyTicket(
  secret: string,
  header: string | undefined,
  subject: TicketSubject,
  now: number,
  nonces: Nonces,
): Promise<void> {
  const [scheme, ticket] = header?.split(" ", 2) ?? [];
  const match = scheme === TICKET_SCHEME ? WIRE.exec(ticket ?? "") : null;
  if (!match) throw new Refusal("unauthorized", `send Authorization: ${TICKET_SCHEME} with a ticket`);
  const [, expiresText, nonce, mac] = match, expires = Number(expiresText);
  // The MAC is checked first, so that the error for a forged ticket does not depend on what the ticket claims.
  const signed = await message(subject, expires, nonce);
  if (!await crypto.subtle.verify("HMAC", await keyOf(secret), Uint8Array.fromHex(mac), signed)) {
    throw new Refusal("unauthorized", "the ticket is not one for this request");
  }
  if (expires < now) throw new Refusal("unauthorized", `the ticket expired ${now - expires} ms ago`);
  if (expires > now + TICKET_MILLISECONDS + SKEW_MILLISECONDS) {
    throw new Refusal("unauthorized", "the ticket is from a clock that is too far ahead");
  }
  if (!await nonces.rememberNonce(nonce, expires, now)) {
    throw new Refusal("unauthorized", "the ticket has been used");
  }
}

/** Remembers the nonces of used tickets. */
export interface Nonces {
  /** Remembers `nonce` until `expires`. Returns false if it is known already, or if the memory is full. Times are in milliseconds since 1970. */
  rememberNonce(nonce: string, expires: number, now: number): boolean | Promise<boolean>;
}

/**
 * Nonces in memory, each until its ticket expires. The memory is bounded. If it is full of nonces that have not expired, new tickets are
 * refused, because forgetting a nonce would allow its ticket to be used again.
 */
export class NonceMemory implements Nonces {
  readonly #expiries = new Map<string, number>();
  readonly #limit: number;

  constructor(limit = 16_384) {
    this.#limit = limit;
  }

  rememberNonce(nonce: string, expires: number, now: number): boolean {
    if (this.#expiries.size >= this.#limit) this.#sweep(now);
    if (this.#expiries.size >= this.#limit || this.#expiries.has(nonce)) return false;
    this.#expiries.set(nonce, expires);
    return true;
  }

  #sweep(now: number): void {
    for (const [nonce, expires] of this.#expiries) if (expires < now) this.#expiries.delete(nonce);
  }
}

/** The signed text: one line per part. Audience, method and path are quoted as JSON, so no part can contain a line feed. */
async function message(
  { audience, method, path, body }: TicketSubject,
  expires: number,
  nonce: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const digest = (await sha256(body)).toHex();
  const parts = ["pare-ticket-1", JSON.stringify([audience, method, path]), digest, expires, nonce];
  return new TextEncoder().encode(parts.join("\n"));
}

async function keyOf(secret: string): Promise<CryptoKey> {
  const bytes = new TextEncoder().encode(secret);
  if (bytes.byteLength < MIN_SECRET_BYTES) {
    throw new RangeError(
      `EDGE_HOST_SECRET: has ${bytes.byteLength} bytes, must have at least ${MIN_SECRET_BYTES}`,
    );
  }
  return await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
    "verify",
  ]);
}
