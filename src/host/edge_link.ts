/** The agreement between a host and the edge that gives it tasks. */

import type { TaskBook } from "./tasks/task_book.ts";

/** What a host and its edge agree on. */
export interface EdgeLink {
  /** `EDGE_HOST_SECRET`, at least 32 bytes: signs the tickets between them. */
  readonly secret: string;
  /** This process's name, new with every start. */
  readonly hostId: string;
  /** Origins that operands may be fetched from and answers written to. */
  readonly blobOrigins: readonly string[];
  /** Where the tasks under way are kept, for who waits for them. */
  readonly tasks?: TaskBook;
}
