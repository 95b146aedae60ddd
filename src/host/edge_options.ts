/**
 * Reads the environment variables that connect a host to an edge, the public server in front of GPU hosts. The edge
 * gives its hosts tasks. A task is a layer whose tensors the host fetches from an object store of the edge. The host accepts
 * tasks if EDGE_HOST_SECRET is set. `pare serve --help` describes the variables.
 */

import { idSchema } from "../protocol/resources/fields.ts";
import { requireLongSecret } from "../protocol/tickets.ts";
import type { TaskRegistry } from "./tasks/task_registry.ts";

/** The options of a host that accepts tasks from an edge. */
export interface EdgeOptions extends Omit<EdgeLink, "hostId" | "tasks"> {
  /** The base URL of the edge, at which the host registers. @default none, so that the host does not register */
  readonly url?: string;
  /** The base URL at which the edge reaches this host. @default the address at which the host listens */
  readonly publicUrl?: string;
  /** The id under which an edge knows the host. Needed if the edge wakes the host by a request. @default a new id after every start */
  readonly hostId?: string;
  /** The time between two heartbeats, which keep the host registered. @default HEARTBEAT_MILLISECONDS */
  readonly heartbeatMilliseconds?: number;
  /** The time within which the edge must answer a heartbeat. @default heartbeatMilliseconds */
  readonly answerMilliseconds?: number;
}

/** The values of the environment variables, undefined for those that are not set. */
export type EdgeVariables = Readonly<
  Record<"secret" | "hostId" | "blobOrigins" | "edge" | "publicUrl", string | undefined>
>;

/**
 * Parses the variables when the host starts, so that a mistake does not first show at the first task.
 * @returns the options, or undefined if neither a secret nor an edge is set
 * @throws {RangeError} with the name of the variable, its value unless it is the secret, and the rule that it breaks
 */
export function parseEdgeOptions(variables: EdgeVariables): EdgeOptions | undefined {
  const { secret, edge, publicUrl, hostId } = variables;
  if (secret === undefined) {
    if (edge !== undefined) {
      throw new RangeError(`EDGE_HOST_SECRET: must be set to register at the edge ${edge}`);
    }
    return undefined;
  }
  requireLongSecret(secret);
  for (const [name, url] of Object.entries({ PARE_EDGE: edge, PARE_PUBLIC_URL: publicUrl })) {
    if (url !== undefined && !/^https?:$/.test(URL.parse(url)?.protocol ?? "")) {
      throw new RangeError(`${name} ${url}: must be an http or https URL`);
    }
  }
  if (hostId !== undefined && !idSchema.safeParse(hostId).success) {
    throw new RangeError(
      `PARE_HOST_ID ${hostId}: must have 1 to 64 letters, digits, dots, hyphens and underscores`,
    );
  }
  const texts = (variables.blobOrigins ?? "").split(",").map((text) => text.trim()).filter(Boolean);
  const blobOrigins = texts.map((text) => {
    const origin = URL.parse(text)?.origin;
    if (origin !== text.replace(/\/$/, "")) {
      throw new RangeError(`PARE_BLOB_ORIGINS ${text}: must be an origin such as https://blobs.example.com`);
    }
    return origin;
  });
  if (blobOrigins.length === 0) {
    throw new RangeError("PARE_BLOB_ORIGINS: must name an origin, because the host accepts tasks");
  }
  return { secret, url: edge, publicUrl, hostId, blobOrigins };
}

/** The connection of a host to its edge. */
export interface EdgeLink {
  /** `EDGE_HOST_SECRET`, at least 32 bytes. Host and edge sign their requests to each other with it. */
  readonly secret: string;
  /** The id of the host, to which the tickets of the edge are addressed. */
  readonly hostId: string;
  /** The URL origins from which the host may fetch tensors, and to which it may write answers. */
  readonly blobOrigins: readonly string[];
  /**
   * The tasks that this host runs. To wait for them when the host shuts down, pass a registry.
   * @default a new registry
   */
  readonly tasks?: TaskRegistry;
}
