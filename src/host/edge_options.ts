/**
 * Reads how a host works with an edge from environment variables:
 *
 *     EDGE_HOST_SECRET    the secret, at least 32 bytes, that signs the tickets between edge and host. If it is set, the host takes tasks
 *     PARE_BLOB_ORIGINS   comma-separated origins from which the host may fetch tensors and to which it may write answers
 *     PARE_EDGE           the URL of the edge at which the host registers. Without it the host does not register
 *     PARE_PUBLIC_URL     the URL at which the edge reaches the host. Defaults to the address on which the host listens
 */

import type { EdgeLink } from "./edge_link.ts";

/** How a host works with an edge. */
export interface EdgeOptions extends Omit<EdgeLink, "hostId" | "tasks"> {
  /** The edge's base URL, at which the host registers. */
  readonly url?: string;
  /** The base URL at which the edge reaches this host. */
  readonly publicUrl?: string;
  /** The interval of heartbeats. Defaults to the contract's ten seconds. */
  readonly heartbeatMilliseconds?: number;
}

/** The texts of the variables. */
export interface EdgeVariables {
  readonly secret: string | undefined;
  readonly blobOrigins: string | undefined;
  readonly edge: string | undefined;
  readonly publicUrl: string | undefined;
}

/**
 * Parses the variables. Returns undefined if none of them configures an edge. Missing variables are refused here, at the start, rather
 * than by the first task.
 * @throws {RangeError} naming the variable and the rule
 */
export function parseEdgeOptions(variables: EdgeVariables): EdgeOptions | undefined {
  const { secret, edge, publicUrl } = variables;
  if (secret === undefined) {
    if (edge !== undefined) throw new RangeError(`EDGE_HOST_SECRET: must be set to take tasks from ${edge}`);
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
