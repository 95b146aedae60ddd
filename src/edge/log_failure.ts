/**
 * Logs failures whose causes clients may not see, such as the addresses of GPU hosts. The runtime stores what
 * the edge (Pare's Cloudflare Worker) writes to the console.
 */

/** Writes one line of JSON to the log. */
export function logFailure(entry: Readonly<Record<string, unknown>>): void {
  console.error(JSON.stringify(entry));
}
