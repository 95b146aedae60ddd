/** The ids of requests. Host and edge use the same rule, so that a request keeps its id when the edge forwards it to a host. */

/** The header that carries the id of a request, in the request and in the answer. */
export const REQUEST_ID_HEADER = "X-Request-Id";

/** Ids that are safe in logs and headers. */
const SAFE_ID = /^[A-Za-z0-9._:-]{1,64}$/;

/** Returns the id that the client has sent, if it is safe. Otherwise returns a new one. @param header the value of `X-Request-Id` */
export function requestIdOf(header: string | undefined): string {
  return header !== undefined && SAFE_ID.test(header) ? header : crypto.randomUUID();
}
