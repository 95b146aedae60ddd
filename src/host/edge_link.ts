/** The data that a host needs to accept tasks from its edge, the public server in front of GPU hosts. */

import type { TaskRegistry } from "./tasks/task_registry.ts";

/** The connection of a host to its edge. */
export interface EdgeLink {
  /** `EDGE_HOST_SECRET`, at least 32 bytes. It signs the tickets between host and edge. */
  readonly secret: string;
  /** The id of this process. A host has a new id after every start. */
  readonly hostId: string;
  /** The origins from which operands may be fetched, and to which answers may be written. */
  readonly blobOrigins: readonly string[];
  /**
   * The tasks of this host. The caller passes them if it has to wait for them, as a shutdown does.
   * @default a new registry
   */
  readonly tasks?: TaskRegistry;
}
