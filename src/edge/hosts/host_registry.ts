/**
 * The registry of GPU hosts, which are alive while they send heartbeats. It also chooses the host for each layer of a
 * job: the least busy one, preferably with a free place and with the layer's statistics, which the host may also get
 * for another reserved layer. A block of a model goes to the host that has its hidden states.
 */

import type { EdgeHost } from "../../protocol/messages.ts";
import { type Heartbeat, HEARTBEAT_MILLISECONDS } from "../../protocol/resources/hosts.ts";
import type { Digest } from "../../protocol/digest.ts";
import { NonceMemory, type Nonces } from "../../protocol/tickets.ts";
import type { SqlStorage } from "../runtime.ts";

/** A host counts as alive for this long after a heartbeat. Two lost heartbeats in a row therefore do no harm. */
export const ALIVE_MILLISECONDS = 3 * HEARTBEAT_MILLISECONDS;

/** A host that has sent no heartbeat for this long is removed from the database. */
const REMOVE_MILLISECONDS = 600_000;

/** A reservation that was never released expires after this time. No attempt at a layer takes longer. */
const RESERVATION_MILLISECONDS = 3_600_000;

export interface ChosenHost {
  readonly id: string;
  readonly url: string;
}

interface Candidate extends EdgeHost {
  /** The number of the host's layers or of its reservations, whichever is larger, divided by its capacity. */
  readonly load: number;
  readonly hasStatistics: boolean;
}

/** The registry, stored in SQL. The Durable Object of the binding `HOSTS` has the methods of this class. */
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

  /** Records a heartbeat of a host. The first one registers the host. */
  recordHeartbeat(id: string, state: Heartbeat): void {
    const now = this.#now();
    this.#sql.exec("DELETE FROM hosts WHERE seen < ?", now - REMOVE_MILLISECONDS);
    this.#sql.exec("INSERT OR REPLACE INTO hosts VALUES (?, ?, ?)", id, JSON.stringify(state), now);
  }

  /** Removes a host and its reservations. If it has failed, it gets no layers until its next heartbeat. */
  deregister(id: string): void {
    this.#sql.exec("DELETE FROM hosts WHERE id = ?", id);
    this.#sql.exec("DELETE FROM reservations WHERE host = ?", id);
  }

  /** Returns the hosts that are alive, ordered by id. */
  aliveHosts(): EdgeHost[] {
    const rows = this.#sql.exec(
      "SELECT id, state, seen FROM hosts WHERE seen >= ? ORDER BY id",
      this.#now() - ALIVE_MILLISECONDS,
    ).toArray();
    return rows.map(({ id, state, seen }) => ({
      ...JSON.parse(String(state)) as Heartbeat,
      id: String(id),
      seen: Number(seen),
    }));
  }

  /**
   * Chooses a host for a task and reserves a place there. An earlier reservation of the same task is released.
   * @param hessian the digest of the layer's shared statistics, if it has any
   * @param avoided the id of a host that failed at the layer. It is chosen only if no other host is alive
   * @param wanted the id of the host that is chosen if it is alive
   * @returns the host, or undefined if none is alive
   */
  choose(
    task: string,
    hessian: Digest | undefined,
    avoided?: string,
    wanted?: string,
  ): ChosenHost | undefined {
    this.release(task);
    const now = this.#now();
    this.#sql.exec("DELETE FROM reservations WHERE since < ?", now - RESERVATION_MILLISECONDS);
    const alive = this.aliveHosts(), others = alive.filter(({ id }) => id !== avoided);
    const own = alive.filter(({ id }) => id === wanted);
    const eligible = [own, others, alive].find(({ length }) => length > 0) ?? [];
    const candidates = eligible.map((host) => this.#toCandidate(host, hessian));
    // At a full host the layer would wait longer than another host takes to fetch and factor the statistics.
    const preferred = candidates.filter(({ hasStatistics, load }) => hasStatistics && load < 1);
    const [best] = (preferred.length > 0 ? preferred : candidates).toSorted((a, b) => a.load - b.load);
    if (!best) return undefined;
    this.#sql.exec("INSERT INTO reservations VALUES (?, ?, ?, ?)", task, best.id, hessian ?? null, now);
    return { id: best.id, url: best.url };
  }

  release(task: string): void {
    this.#sql.exec("DELETE FROM reservations WHERE task = ?", task);
  }

  /** Remembers the nonces of tickets for all instances of the Worker. */
  rememberNonce(nonce: string, expires: number, now: number): boolean {
    return this.#nonces.rememberNonce(nonce, expires, now);
  }

  #toCandidate(host: EdgeHost, hessian: Digest | undefined): Candidate {
    const reserved = this.#sql.exec("SELECT hessian FROM reservations WHERE host = ?", host.id).toArray();
    const { waiting, resident } = host.queue;
    return {
      ...host,
      // The last heartbeat may include reserved layers, so the larger number is used rather than the sum.
      load: Math.max(waiting + resident, reserved.length) / host.capacity,
      hasStatistics: hessian !== undefined &&
        (host.factors.includes(hessian) || reserved.some((row) => row.hessian === hessian)),
    };
  }
}
