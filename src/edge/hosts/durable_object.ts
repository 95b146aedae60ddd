/**
 * Durable Objects as the edge uses them: the members that are called, and no more (`runtime.ts` says why). An object's methods are
 * called from the Worker as its class declares them; what they throw arrives there as a plain Error, so that they
 * return what a caller must tell apart.
 */

/** A value of a row. */
export type SqlValue = string | number | null;

/** The SQLite database of one object. Writes of one turn are atomic, and durable before anything is answered. */
export interface SqlStorage {
  exec(query: string, ...values: SqlValue[]): { toArray(): Record<string, SqlValue>[] };
}

/** What an object is constructed with. */
export interface DurableObjectState {
  readonly storage: {
    readonly sql: SqlStorage;
    setAlarm(milliseconds: number): Promise<void>;
    deleteAll(): Promise<void>;
  };
}

/** The objects of one class, each by its name. */
export interface DurableObjectNamespace<Methods> {
  getByName(name: string): Methods;
}

/** Methods as they are called from outside the object: each answers later. */
export type Remote<T> = {
  readonly [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>>
    : never;
};
