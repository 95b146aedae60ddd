/**
 * An SQL database in memory. It replaces the database of a Durable Object in tests outside the Workers
 * runtime.
 */

import { DatabaseSync } from "node:sqlite";
import type { SqlStorage, SqlValue } from "../../src/edge/runtime.ts";

/** Returns an empty SQLite database in memory. */
export function memorySql(): SqlStorage {
  const database = new DatabaseSync(":memory:");
  return {
    exec(query, ...values) {
      const rows = database.prepare(query).all(...values) as Record<string, SqlValue>[];
      return { toArray: () => rows };
    },
  };
}
