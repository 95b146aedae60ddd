/** Request ids, by one rule at host and edge, so that an answer passed on keeps its id. */

/** What may be taken over into logs and headers. */
const SANE = /^[A-Za-z0-9._:-]{1,64}$/;

/** The client's own id (the value of X-Request-Id) where it is a sane one, else a fresh one. */
export function requestIdOf(given: string | undefined): string {
  return given !== undefined && SANE.test(given) ? given : crypto.randomUUID();
}
