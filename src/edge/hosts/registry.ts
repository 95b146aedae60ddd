/**
 * The registry of GPU hosts, and the choice of a host for each layer. A host is alive while it sends heartbeats. A layer goes to the least
 * busy host that has the layer's statistics, or that will have them from an earlier layer. The registry calls no host.
 */

import { HEARTBEAT_MILLISECONDS, type HostState } from "../../protocol/jobs.ts";
import type { Digest } from "../../protocol/digest.ts";
import { NonceMemory, type Nonces } from "../../protocol/tickets.ts";
import type { SqlStorage } from "../durable_objects/durable_object.ts";

/** A host is alive for this long after a heartbeat, so that two heartbeats may be lost. */
export const ALIVE_MILLISECONDS = 3 * HEARTBEAT_MILLISECONDS;

/** A host without a heartbeat for this long is removed. */
const FORGET_MILLISECONDS = 600_000;

/** A reservation expires after this time, in case its release was lost. No layer takes longer. */
const RESERVATION_MILLISECONDS = 3_600_000;

/** The host that was chosen for a task. */
export interface ChosenHost {
  readonly id: string;
  readonly url: string;
}

/** A host that is alive. */
export interface KnownHost extends HostState {
  readonly id: string;
  /** The time of the last heartbeat, in milliseconds since 1970. */
  readonly seen: number;
}

interface Candidate extends KnownHost {
  /** The layers that the host has or will have, relative to its capacity. */
  readonly load: number;
  /** Whether the host has the layer's statistics, or will have them. */
  readonly holds: boolean;
}

/** The registry, stored in SQL. Its methods are those of the Durable Object `HOSTS`. */
export class HostRegistry implements Nonces {
  readonly #sql: SqlStorage;
  readonly #now: () => number;
  readonly #nonces = new NonceMemory();

  /** @param now returns milliseconds since 1970 */
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

  /** Records a heartbeat of a host with its state. */
  recordHeartbeat(id: string, state: HostState): void {
    const now = this.#now();
    this.#sql.exec("DELETE FROM hosts WHERE seen < ?", now - FORGET_MILLISECONDS);
    this.#sql.exec("INSERT OR REPLACE INTO hosts VALUES (?, ?, ?)", id, JSON.stringify(state), now);
  }

  /** Removes a host that deregistered or does not answer. It gets no layers until its next heartbeat. */
  deregister(id: string): void {
    this.#sql.exec("DELETE FROM hosts WHERE id = ?", id);
    this.#sql.exec("DELETE FROM reservations WHERE host = ?", id);
  }

  /** Returns the hosts that are alive, ordered by id. */
  aliveHosts(): KnownHost[] {
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

  /** Reserves a place for `task` at a host, or returns undefined if no host is alive. An earlier reservation of the task is released. */
  choose(task: string, hessian: Digest | undefined): ChosenHost | undefined {
    this.release(task);
    const now = this.#now();
    this.#sql.exec("DELETE FROM reservations WHERE since < ?", now - RESERVATION_MILLISECONDS);
    const candidates = this.aliveHosts().map((host) => this.#rate(host, hessian));
    // Waiting at a full host takes longer than fetching and factoring the statistics at another one.
    const holders = candidates.filter(({ holds, load }) => holds && load < 1);
    const [best] = (holders.length > 0 ? holders : candidates).toSorted((a, b) => a.load - b.load);
    if (!best) return undefined;
    this.#sql.exec("INSERT INTO reservations VALUES (?, ?, ?, ?)", task, best.id, hessian ?? null, now);
    return { id: best.id, url: best.url };
  }

  /** Releases the reservation of `task`, if it has one. */
  release(task: string): void {
    this.#sql.exec("DELETE FROM reservations WHERE task = ?", task);
  }

  /** See `NonceMemory.remember`. Instances of the Worker share no memory, so the nonces of tickets are remembered here. */
  remember(nonce: string, expires: number, now: number): boolean {
    return this.#nonces.remember(nonce, expires, now);
  }

  #rate(host: KnownHost, hessian: Digest | undefined): Candidate {
    const reserved = this.#sql.exec("SELECT hessian FROM reservations WHERE host = ?", host.id).toArray();
    const { waiting, resident } = host.queue;
    return {
      ...host,
      // A reserved layer counts once, whether or not the last heartbeat includes it.
      load: Math.max(waiting + resident, reserved.length) / host.capacity,
      holds: hessian !== undefined &&
        (host.factors.includes(hessian) || reserved.some((row) => row.hessian === hessian)),
    };
  }
}
