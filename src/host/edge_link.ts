/** The data that a host needs to accept tasks from its edge, the public server in front of GPU hosts. */

import type { TaskRegistry } from "./tasks/task_registry.ts";

/** The connection of a host to its edge. */
export interface EdgeLink {
  /** `EDGE_HOST_SECRET`, at least 32 bytes. Host and edge sign their requests to each other with it. */
  readonly secret: string;
  /** The id of this process. A host has a new id after every start. */
  readonly hostId: string;
  /** The URL origins from which the host may fetch tensors, and to which it may write answers. */
  readonly blobOrigins: readonly string[];
  /**
   * The tasks that this host runs. A caller that must wait for them when the host shuts down passes a registry of its own.
   * @default a new registry
   */
  readonly tasks?: TaskRegistry;
}
