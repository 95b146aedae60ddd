/** The storage of a Durable Object for tests without the runtime: an SQLite database in memory. */

import { DatabaseSync } from "node:sqlite";
import type { SqlStorage, SqlValue } from "../../src/edge/durable_objects/durable_object.ts";

/** An empty database. */
export function memorySql(): SqlStorage {
  const database = new DatabaseSync(":memory:");
  return {
    exec(query, ...values) {
      const rows = database.prepare(query).all(...values) as Record<string, SqlValue>[];
      return { toArray: () => rows };
    },
  };
}
