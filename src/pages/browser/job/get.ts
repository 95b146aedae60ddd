/** Requests to this server for which the SDK has no call: the whole list of hosts, and the event stream of a job. */

import { PareError } from "../../../client/mod.ts";
import { currentKey } from "../api_key.ts";

/** Sends `GET path` with the key of the page. @throws {PareError} if the server refuses the request */
export async function get(
  path: string,
  headers: Record<string, string>,
  signal?: AbortSignal,
): Promise<Response> {
  const key = currentKey();
  if (key !== undefined) headers = { ...headers, Authorization: `Bearer ${key}` };
  const response = await fetch(path, { headers, signal });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({ detail: response.statusText }));
  throw new PareError(response.status, problem);
}
