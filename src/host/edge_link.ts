/** The agreement between a host and the edge that gives it tasks. */

import type { TaskBook } from "./tasks/task_book.ts";

/** The shared settings of a host and its edge. */
export interface EdgeLink {
  /** `EDGE_HOST_SECRET`, at least 32 bytes. It signs the tickets between host and edge. */
  readonly secret: string;
  /** The id of this process. It is new after every start. */
  readonly hostId: string;
  /** The origins from which operands may be fetched, and to which answers may be written. */
  readonly blobOrigins: readonly string[];
  /** The running tasks, so that a shutdown can wait for them. */
  readonly tasks?: TaskBook;
}
