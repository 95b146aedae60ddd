/** Query strings of requests. */

/** Returns the members of `query` as the query string of a request. Members that are undefined are left out. */
export function searchParamsOf(query: object): URLSearchParams {
  const defined = Object.entries(query).filter(([, value]) => value !== undefined);
  return new URLSearchParams(defined.map(([name, value]) => [name, String(value)]));
}
