/**
 * Tickets authenticate the requests that an edge (the public server) and its GPU hosts send to each other. A ticket is
 * valid for one request to one receiver, once, within a minute. It is sent as `Authorization: Pare-Ticket
 * EXPIRES.NONCE.MAC`. The nonce is a random number that is used only once. MAC is an HMAC-SHA256 over the receiver, the
 * method, the path, the sha-256 of the body, the expiry time and the nonce. The key of the HMAC is a secret that edge
 * and hosts share. All points in time are in milliseconds since 1970.
 */

import { sha256 } from "./digest.ts";
import { Refusal } from "./refusal.ts";

const TICKET_SCHEME = "Pare-Ticket";

/** The receiver in the tickets that hosts send to an edge. A host is named by its id, but an edge has no id. */
export const EDGE_AUDIENCE = "edge";

/** The lifetime of a ticket. It allows for slow connections and differing clocks, and a stolen ticket soon expires. */
export const TICKET_MILLISECONDS = 60_000;

/** The most milliseconds by which the sender's clock may be ahead. It bounds how long nonces are remembered. */
const SKEW_MILLISECONDS = 30_000;

/** The length of the shortest accepted secret, in bytes. It equals the length of the MAC. */
const MIN_SECRET_BYTES = 32;

/** The text of a ticket, without the scheme. */
const TICKET_PATTERN = /^(\d{1,15})\.([0-9a-f]{32})\.([0-9a-f]{64})$/;

/** The request that a ticket is bound to. */
export interface TicketSubject {
  /** The id of a host, or `EDGE_AUDIENCE`. */
  readonly audience: string;
  readonly method: string;
  /** The path below the receiver's base URL, such as `/v1/tasks`. */
  readonly path: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** A request from an edge to a host, or from a host to an edge. */
export interface TicketedCall extends Pick<TicketSubject, "audience" | "method" | "path"> {
  /** The base URL of the receiver. It may have a path of its own. */
  readonly baseUrl: string;
  readonly json?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Checks that a secret is long enough. @throws {RangeError} if it is not */
export function requireLongSecret(secret: string): void {
  const { byteLength } = new TextEncoder().encode(secret);
  if (byteLength < MIN_SECRET_BYTES) {
    throw new RangeError(`EDGE_HOST_SECRET: has ${byteLength} bytes, must have at least ${MIN_SECRET_BYTES}`);
  }
}

/** Returns a request with a ticket, as the arguments of `fetch`. @throws {RangeError} if the secret is too short */
export async function ticketedRequest(
  secret: string,
  call: TicketedCall,
  now: number,
): Promise<{ url: URL; init: RequestInit }> {
  const { audience, method, path, baseUrl, json } = call;
  const body = new TextEncoder().encode(json === undefined ? "" : JSON.stringify(json));
  const ticket = await signTicket(secret, { audience, method, path, body }, now);
  const headers = { ...call.headers, Authorization: ticket };
  return {
    url: new URL(`.${path}`, baseUrl.endsWith("/") ? baseUrl : `${baseUrl}/`),
    init: json === undefined
      ? { method, headers }
      : { method, headers: { ...headers, "Content-Type": "application/json" }, body },
  };
}

/** Returns the value of the Authorization header for one request. @throws {RangeError} if the secret is too short */
export async function signTicket(secret: string, subject: TicketSubject, now: number): Promise<string> {
  const expires = now + TICKET_MILLISECONDS;
  const nonce = crypto.getRandomValues(new Uint8Array(16)).toHex();
  const key = await importHmacKey(secret), text = await signedText(subject, expires, nonce);
  const mac = new Uint8Array(await crypto.subtle.sign("HMAC", key, text));
  return `${TICKET_SCHEME} ${expires}.${nonce}.${mac.toHex()}`;
}

/**
 * Checks the ticket of a request, and remembers its nonce in `nonces`.
 * @param header the value of the request's Authorization header
 * @throws {Refusal} `unauthorized` if the ticket is missing, malformed, expired, used, or made for another request
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
  const match = scheme === TICKET_SCHEME ? TICKET_PATTERN.exec(ticket ?? "") : null;
  if (!match) throw new Refusal("unauthorized", `send Authorization: ${TICKET_SCHEME} with a ticket`);
  const [, expiresText, nonce, mac] = match, expires = Number(expiresText);
  // The MAC is checked first, so that the error for a forged ticket does not depend on its expiry time and nonce.
  const key = await importHmacKey(secret), text = await signedText(subject, expires, nonce);
  if (!await crypto.subtle.verify("HMAC", key, Uint8Array.fromHex(mac), text)) {
    throw new Refusal(
      "unauthorized",
      "the ticket was not signed for this request with the secret of this server",
    );
  }
  if (expires < now) throw new Refusal("unauthorized", `the ticket expired ${now - expires} ms ago`);
  if (expires > now + TICKET_MILLISECONDS + SKEW_MILLISECONDS) {
    throw new Refusal("unauthorized", "the clock of the ticket's sender is too far ahead");
  }
  if (!await nonces.rememberNonce(nonce, expires, now)) {
    throw new Refusal("unauthorized", "the ticket has been used");
  }
}

/** Remembers the nonces of used tickets. */
export interface Nonces {
  /** Remembers `nonce` until `expires`. Returns false if the nonce was used before, or if the memory is full. */
  rememberNonce(nonce: string, expires: number, now: number): boolean | Promise<boolean>;
}

/** Keeps nonces in memory until their tickets expire. If the memory is full, further tickets are refused. */
export class NonceMemory implements Nonces {
  readonly #expiries = new Map<string, number>();
  readonly #limit: number;

  constructor(limit = 16_384) {
    this.#limit = limit;
  }

  rememberNonce(nonce: string, expires: number, now: number): boolean {
    if (this.#expiries.size >= this.#limit) this.#removeExpired(now);
    if (this.#expiries.size >= this.#limit || this.#expiries.has(nonce)) return false;
    this.#expiries.set(nonce, expires);
    return true;
  }

  #removeExpired(now: number): void {
    for (const [nonce, expires] of this.#expiries) if (expires < now) this.#expiries.delete(nonce);
  }
}

/** Returns the text that the MAC covers, one line per part. The parts of the request are JSON without line feeds. */
async function signedText(
  { audience, method, path, body }: TicketSubject,
  expires: number,
  nonce: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const digest = (await sha256(body)).toHex();
  const parts = ["pare-ticket-1", JSON.stringify([audience, method, path]), digest, expires, nonce];
  return new TextEncoder().encode(parts.join("\n"));
}

async function importHmacKey(secret: string): Promise<CryptoKey> {
  requireLongSecret(secret);
  const usages: KeyUsage[] = ["sign", "verify"];
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  return await crypto.subtle.importKey("raw", new TextEncoder().encode(secret), algorithm, false, usages);
}
