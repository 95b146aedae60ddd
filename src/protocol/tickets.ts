/**
 * Tickets between the edge and its hosts: an HMAC-SHA256 over who it is for, the method, the path, the body's sha-256, an
 * expiry and a nonce, under a secret both sides have. A ticket is good for one request, once, at one receiver, for a
 * minute. It hides nothing: confidentiality is TLS's. It travels as `Authorization: Pare-Ticket EXPIRES.NONCE.MAC`.
 */

import { sha256 } from "./digest.ts";

/** The scheme of the Authorization header. */
export const TICKET_SCHEME = "Pare-Ticket";

/** Whom a host's tickets are for: the edge has no id. */
export const EDGE_AUDIENCE = "edge";

/** Long enough for a slow connection and clocks a little apart, short enough that a stolen ticket is soon useless. */
export const TICKET_MILLISECONDS = 60_000;

/** How far ahead the signer's clock may be. Bounds how long a nonce has to be remembered. */
const SKEW_MILLISECONDS = 30_000;

/** The least secret accepted, in bytes: as much as the MAC it keys. */
const MIN_SECRET_BYTES = 32;

const WIRE = /^(\d{1,15})\.([0-9a-f]{32})\.([0-9a-f]{64})$/;

/** What a ticket is bound to. */
export interface TicketSubject {
  /** The receiver's id, or `EDGE_AUDIENCE`. */
  readonly audience: string;
  readonly method: string;
  /** Path below the receiver's base URL, such as `/v1/tasks`. */
  readonly path: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** A ticket that does not hold; the message says why. */
export class TicketError extends Error {
  override name = "TicketError";
}

/** The header's value for one request. `now` in milliseconds since 1970. @throws {RangeError} the secret is too short */
export async function signTicket(secret: string, subject: TicketSubject, now: number): Promise<string> {
  const expires = now + TICKET_MILLISECONDS;
  const nonce = crypto.getRandomValues(new Uint8Array(16)).toHex();
  const mac = await crypto.subtle.sign("HMAC", await keyOf(secret), await message(subject, expires, nonce));
  return `${TICKET_SCHEME} ${expires}.${nonce}.${new Uint8Array(mac).toHex()}`;
}

/**
 * Checks a ticket, and has `nonces` remember it.
 * @throws {TicketError} none, malformed, expired, for another request or receiver, or seen before
 * @throws {RangeError} the secret is too short
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
  if (!match) throw new TicketError(`send Authorization: ${TICKET_SCHEME} with a ticket`);
  const [, expiresText, nonce, mac] = match, expires = Number(expiresText);
  // The MAC first: what is said of a forged ticket must not depend on what it claims.
  const signed = await message(subject, expires, nonce);
  if (!await crypto.subtle.verify("HMAC", await keyOf(secret), Uint8Array.fromHex(mac), signed)) {
    throw new TicketError("the ticket is not one for this request");
  }
  if (expires < now) throw new TicketError(`the ticket expired ${now - expires} ms ago`);
  if (expires > now + TICKET_MILLISECONDS + SKEW_MILLISECONDS) {
    throw new TicketError("the ticket is from a clock that is too far ahead");
  }
  if (!await nonces.take(nonce, expires, now)) throw new TicketError("the ticket has been used");
}

/** Remembers nonces, here or elsewhere. */
export interface Nonces {
  /** Remembers `nonce` until `expires`; false when it is known, or there is no room. Times in milliseconds since 1970. */
  take(nonce: string, expires: number, now: number): boolean | Promise<boolean>;
}

/**
 * Nonces seen, each until its ticket expires. Bounded: when it is full of live ones, new tickets are refused, since to
 * forget one would let it be used again.
 */
export class NonceMemory implements Nonces {
  readonly #expiries = new Map<string, number>();
  readonly #limit: number;

  constructor(limit = 16_384) {
    this.#limit = limit;
  }

  take(nonce: string, expires: number, now: number): boolean {
    if (this.#expiries.size >= this.#limit) this.#sweep(now);
    if (this.#expiries.size >= this.#limit || this.#expiries.has(nonce)) return false;
    this.#expiries.set(nonce, expires);
    return true;
  }

  #sweep(now: number): void {
    for (const [nonce, expires] of this.#expiries) if (expires < now) this.#expiries.delete(nonce);
  }
}

/** One line a part, none of which can hold a line feed but the audience and the path, which are quoted. */
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
    throw new RangeError(`EDGE_HOST_SECRET: has ${bytes.byteLength} bytes, must have ${MIN_SECRET_BYTES}`);
  }
  return await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
    "verify",
  ]);
}
