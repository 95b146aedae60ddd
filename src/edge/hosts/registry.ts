/**
 * Which GPU hosts there are, and which of them is to have the next layer. A host is alive while it tells of itself; a layer
 * goes to the least busy one that has its statistics, or will have them from a layer it was given before. It calls no host.
 */

import { HEARTBEAT_MILLISECONDS, type HostState } from "../../protocol/jobs.ts";
import type { Digest } from "../../protocol/digest.ts";
import type { SqlStorage } from "./durable_object.ts";

/** Two heartbeats may be lost on the way. */
export const ALIVE_MILLISECONDS = 3 * HEARTBEAT_MILLISECONDS;

/** A host silent for this long is forgotten. */
const FORGET_MILLISECONDS = 600_000;

/** No layer takes longer; a place whose release was lost is free again then. */
const RESERVATION_MILLISECONDS = 3_600_000;

/** A host chosen for a task. */
export interface ChosenHost {
  readonly id: string;
  readonly url: string;
}

/** A host that is alive. */
export interface KnownHost extends HostState {
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly seen: number;
}

interface Candidate extends KnownHost {
  /** Layers that it has or will have, a unit of its capacity. */
  readonly load: number;
  readonly holds: boolean;
}

/** The registry, kept in SQL. */
export class HostRegistry {
  readonly #sql: SqlStorage;
  readonly #now: () => number;

  /** @param now milliseconds since 1970 */
  constructor(sql: SqlStorage, now: () => number) {
    this.#sql = sql;
    this.#now = now;
    sql.exec(
      "CREATE TABLE IF NOT EXISTS hosts (id TEXT PRIMARY KEY, state TEXT NOT NULL, seen INTEGER NOT NULL)",
    );
    sql.exec(
      "CREATE TABLE IF NOT EXISTS reservations (task TEXT PRIMARY KEY, host TEXT NOT NULL, hessian TEXT, since INTEGER NOT NULL)",
    );
  }

  /** A host tells of itself. */
  beat(id: string, state: HostState): void {
    const now = this.#now();
    this.#sql.exec("DELETE FROM hosts WHERE seen < ?", now - FORGET_MILLISECONDS);
    this.#sql.exec("INSERT OR REPLACE INTO hosts VALUES (?, ?, ?)", id, JSON.stringify(state), now);
  }

  /** A host leaves, or is found not to answer: it has no more layers until it tells of itself again. */
  leave(id: string): void {
    this.#sql.exec("DELETE FROM hosts WHERE id = ?", id);
    this.#sql.exec("DELETE FROM reservations WHERE host = ?", id);
  }

  /** Those alive, by id. */
  alive(): KnownHost[] {
    const rows = this.#sql.exec(
      "SELECT id, state, seen FROM hosts WHERE seen >= ? ORDER BY id",
      this.#now() - ALIVE_MILLISECONDS,
    ).toArray();
    return rows.map(({ id, state, seen }) => ({
      ...JSON.parse(String(state)) as HostState,
      id: String(id),
      seen: Number(seen),
    }));
  }

  /** Reserves a place for `task`; undefined where no host is alive. The same task again gives up the place it had. */
  choose(task: string, hessian: Digest | undefined): ChosenHost | undefined {
    this.release(task);
    const now = this.#now();
    this.#sql.exec("DELETE FROM reservations WHERE since < ?", now - RESERVATION_MILLISECONDS);
    const candidates = this.alive().map((host) => this.#judge(host, hessian));
    // A full host is no gain: fetching and factoring elsewhere is faster than to wait for a whole layer.
    const holders = candidates.filter(({ holds, load }) => holds && load < 1);
    const [best] = (holders.length > 0 ? holders : candidates).toSorted((a, b) => a.load - b.load);
    if (!best) return undefined;
    this.#sql.exec("INSERT INTO reservations VALUES (?, ?, ?, ?)", task, best.id, hessian ?? null, now);
    return { id: best.id, url: best.url };
  }

  /** Gives up the place of `task`. Harmless where it has none. */
  release(task: string): void {
    this.#sql.exec("DELETE FROM reservations WHERE task = ?", task);
  }

  #judge(host: KnownHost, hessian: Digest | undefined): Candidate {
    const reserved = this.#sql.exec("SELECT hessian FROM reservations WHERE host = ?", host.id).toArray();
    const { waiting, resident } = host.queue;
    return {
      ...host,
      // A layer that was given counts once, whether or not the heartbeat knows of it by now.
      load: Math.max(waiting + resident, reserved.length) / host.capacity,
      holds: hessian !== undefined &&
        (host.factors.includes(hessian) || reserved.some((row) => row.hessian === hessian)),
    };
  }
}
