/**
 * What a host is told of its edge, from the environment:
 *
 *     EDGE_HOST_SECRET    signs the tickets between them, 32 bytes or more: with it the host takes tasks
 *     PARE_BLOB_ORIGINS   comma-separated origins that tensors may come from and answers go to
 *     PARE_EDGE           the edge to register with; without it the host waits to be called
 *     PARE_PUBLIC_URL     where the edge reaches this host; by default where it listens
 */

import type { EdgeLink } from "./edge_link.ts";

/** How to work with an edge. */
export interface EdgeOptions extends Omit<EdgeLink, "hostId" | "tasks"> {
  /** The edge's base URL, to register with. */
  readonly url?: string;
  /** This host's base URL as the edge sees it. */
  readonly publicUrl?: string;
  /** Between two heartbeats; the contract's ten seconds unless given. */
  readonly heartbeatMilliseconds?: number;
}

/** The variables' text. */
export interface EdgeVariables {
  readonly secret: string | undefined;
  readonly blobOrigins: string | undefined;
  readonly edge: string | undefined;
  readonly publicUrl: string | undefined;
}

/**
 * Reads them; undefined where no edge is meant. What is missing is refused now rather than by the first task.
 * @throws {RangeError} naming the variable and the rule
 */
export function parseEdgeOptions(variables: EdgeVariables): EdgeOptions | undefined {
  const { secret, edge, publicUrl } = variables;
  if (secret === undefined) {
    if (edge !== undefined) throw new RangeError(`EDGE_HOST_SECRET: must be set to take tasks of ${edge}`);
    return undefined;
  }
  if (new TextEncoder().encode(secret).length < 32) {
    throw new RangeError("EDGE_HOST_SECRET: must have 32 bytes or more");
  }
  for (const [name, url] of Object.entries({ PARE_EDGE: edge, PARE_PUBLIC_URL: publicUrl })) {
    if (url !== undefined && !/^https?:$/.test(URL.parse(url)?.protocol ?? "")) {
      throw new RangeError(`${name} ${url}: must be an http or https URL`);
    }
  }
  const texts = (variables.blobOrigins ?? "").split(",").map((text) => text.trim()).filter(Boolean);
  const blobOrigins = texts.map((text) => {
    const origin = URL.parse(text)?.origin;
    if (origin !== text.replace(/\/$/, "")) {
      throw new RangeError(`PARE_BLOB_ORIGINS ${text}: must be an origin such as https://blobs.example.com`);
    }
    return origin;
  });
  if (blobOrigins.length === 0) throw new RangeError("PARE_BLOB_ORIGINS: must name an origin to take tasks");
  return { secret, url: edge, publicUrl, blobOrigins };
}
