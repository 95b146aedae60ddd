/** Chooses the id of a request. Host and edge use the same rule, so that a request keeps its id when the edge passes it on. */

/** Ids that are safe in logs and headers. */
const SAFE_ID = /^[A-Za-z0-9._:-]{1,64}$/;

/** Returns the client's id (the value of X-Request-Id) if it is safe, else a new one. */
export function requestIdOf(given: string | undefined): string {
  return given !== undefined && SAFE_ID.test(given) ? given : crypto.randomUUID();
}
