/**
 * The types of Durable Objects, limited to the members that the edge uses (`runtime.ts` says why). The Worker calls the methods of an
 * object as its class declares them. Errors arrive at the Worker as plain Errors without their class, so methods return outcomes that a
 * caller must distinguish.
 */

/** A value in a row. */
export type SqlValue = string | number | null;

/** The SQLite database of one object. Writes without an await between them are atomic, and durable before the object answers. */
export interface SqlStorage {
  exec(query: string, ...values: SqlValue[]): { toArray(): Record<string, SqlValue>[] };
}

/** The state with which an object is constructed. */
export interface DurableObjectState {
  readonly storage: {
    readonly sql: SqlStorage;
    setAlarm(milliseconds: number): Promise<void>;
    deleteAll(): Promise<void>;
  };
}

/** The objects of one class, by name. */
export interface DurableObjectNamespace<Methods> {
  getByName(name: string): Methods;
}

/** The methods of an object as the Worker calls them: each returns a promise. */
export type Remote<T> = {
  readonly [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>>
    : never;
};
