/**
 * The types of Durable Objects: single-threaded objects with a database of their own, which any instance of
 * the Worker can call by name. An error that a method throws reaches the Worker as a plain `Error` without
 * its class. Outcomes that a caller must distinguish are therefore returned, not thrown.
 */

/** A value in a row. */
export type SqlValue = string | number | null;

/**
 * The SQLite database of one object. Consecutive writes without an `await` between them are atomic. They are durable before the object
 * answers its caller.
 */
export interface SqlStorage {
  exec(query: string, ...values: SqlValue[]): { toArray(): Record<string, SqlValue>[] };
}

/** The state with which an object is constructed. */
export interface DurableObjectState {
  readonly storage: {
    readonly sql: SqlStorage;
    /** Makes the runtime call the object's `alarm` method at a time in milliseconds since 1970. */
    setAlarm(milliseconds: number): Promise<void>;
    deleteAll(): Promise<void>;
  };
}

/** The objects of one class. */
export interface DurableObjectNamespace<Methods> {
  /** Returns the object with a name. The runtime creates it when it is first called. */
  getByName(name: string): Methods;
}

/** The methods of `T` as the Worker calls them on a Durable Object: each returns a promise. */
export type Remote<T> = {
  readonly [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>>
    : never;
};
