/**
 * The registry of GPU hosts. Most hosts are alive while they send heartbeats. Others are woken by a request (`woken_hosts.ts`).
 * The registry also chooses the host for each layer of a job: the least busy host, preferably with a free place and with the
 * layer's statistics. A host also counts as having the statistics if it gets them for another layer. A block of a model goes to
 * the host that has its hidden states.
 */

import type { EdgeHost } from "../../protocol/messages.ts";
import { type Heartbeat, HEARTBEAT_MILLISECONDS } from "../../protocol/resources/hosts.ts";
import type { Digest } from "../../protocol/digest.ts";
import { NonceMemory, type Nonces } from "../../protocol/tickets.ts";
import type { SqlStorage } from "../runtime.ts";
import type { WokenHost } from "./woken_hosts.ts";

/** A host counts as alive for this long after a heartbeat. Two lost heartbeats in a row therefore do no harm. */
export const ALIVE_MILLISECONDS = 3 * HEARTBEAT_MILLISECONDS;

/** A host that has sent no heartbeat for this long is removed from the database. */
const REMOVE_MILLISECONDS = 600_000;

/** A reservation that was never released expires after this time. Only an attempt at a block may take longer. */
const RESERVATION_MILLISECONDS = 3_600_000;

/** The state of a host that sends no heartbeats. Its capacity is the default of hosts. */
const UNKNOWN_STATE = {
  backend: "unknown",
  adapter: "unknown",
  capacity: 3,
  queue: { waiting: 0, resident: 0 },
  factors: [],
  seen: 0,
};

export interface ChosenHost extends WokenHost {
  /** Whether the host sends no heartbeats, so that it may have to be woken. */
  readonly mayBeAsleep: boolean;
}

interface Candidate extends EdgeHost, ChosenHost {
  /** The number of the host's layers or of its reservations, whichever is larger, divided by its capacity. */
  readonly load: number;
  readonly hasStatistics: boolean;
}

/** The registry, stored in SQL. The Durable Object of the binding `HOSTS` has the methods of this class. */
export class HostRegistry implements Nonces {
  readonly #now: () => number;
  readonly #wokenHosts: () => readonly WokenHost[];
  readonly #nonces = new NonceMemory();

  /**
   * @param now returns milliseconds since 1970
   * @param wokenHosts returns the hosts that are woken by a request
   */
  constructor(
    private readonly sql: SqlStorage,
    now: () => number,
    wokenHosts: () => readonly WokenHost[] = () => [],
  ) {
    this.#now = now;
    this.#wokenHosts = wokenHosts;
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
    this.sql.exec("DELETE FROM hosts WHERE seen < ?", now - REMOVE_MILLISECONDS);
    this.sql.exec("INSERT OR REPLACE INTO hosts VALUES (?, ?, ?)", id, JSON.stringify(state), now);
  }

  /**
   * Removes a host and its reservations. If it has failed, it gets no layers until its next heartbeat. A host that is
   * woken by a request only loses its reservations.
   */
  deregister(id: string): void {
    this.sql.exec("DELETE FROM hosts WHERE id = ?", id);
    this.sql.exec("DELETE FROM reservations WHERE host = ?", id);
  }

  /** Returns the hosts that are alive, ordered by id. */
  aliveHosts(): EdgeHost[] {
    const rows = this.sql.exec(
      "SELECT id, state, seen FROM hosts WHERE seen >= ? ORDER BY id",
      this.#now() - ALIVE_MILLISECONDS,
    ).toArray();
    return rows.map(({ id, state, seen }) => ({
      ...JSON.parse(String(state)) as Heartbeat,
      id: String(id),
      seen: Number(seen),
    }));
  }

  /** Returns the hosts that can get layers, which are alive or can be woken by a request. */
  usableHosts(): EdgeHost[] {
    const alive = this.aliveHosts();
    const others = this.#wokenHosts().filter(({ id }) => alive.every((host) => host.id !== id));
    return [...alive, ...others.map((host) => ({ ...UNKNOWN_STATE, ...host }))];
  }

  /**
   * Chooses a host for a task and reserves a place there. An earlier reservation of the same task is released.
   * @param hessian the digest of the layer's shared statistics, if it has any
   * @param avoided the id of a host that failed at the layer. It is chosen only if there is no other host
   * @param wanted the id of the host that is chosen if it can be used
   * @returns the host, or undefined if no host is alive and no host can be woken
   */
  choose(
    task: string,
    hessian: Digest | undefined,
    avoided?: string,
    wanted?: string,
  ): ChosenHost | undefined {
    this.release(task);
    const now = this.#now();
    this.sql.exec("DELETE FROM reservations WHERE since < ?", now - RESERVATION_MILLISECONDS);
    const usable = this.usableHosts();
    const others = usable.filter(({ id }) => id !== avoided);
    const own = usable.filter(({ id }) => id === wanted);
    const eligible = [own, others, usable].find(({ length }) => length > 0) ?? [];
    const candidates = eligible.map((host) => this.#toCandidate(host, hessian));
    // At a full host the layer would wait longer than another host takes to fetch and factor the statistics.
    const preferred = candidates.filter(({ hasStatistics, load }) => hasStatistics && load < 1);
    // A host that may be asleep is started only if the others are full.
    const awake = candidates.filter(({ mayBeAsleep, load }) => !mayBeAsleep && load < 1);
    const [best] = [preferred, awake, candidates].find(({ length }) => length > 0)
      ?.toSorted((a, b) => a.load - b.load) ?? [];
    if (!best) return undefined;
    this.sql.exec("INSERT INTO reservations VALUES (?, ?, ?, ?)", task, best.id, hessian ?? null, now);
    return { id: best.id, url: best.url, mayBeAsleep: best.mayBeAsleep };
  }

  release(task: string): void {
    this.sql.exec("DELETE FROM reservations WHERE task = ?", task);
  }

  /** Remembers the nonces of tickets for all instances of the Worker. */
  rememberNonce(nonce: string, expires: number, now: number): boolean {
    return this.#nonces.rememberNonce(nonce, expires, now);
  }

  #toCandidate(host: EdgeHost, hessian: Digest | undefined): Candidate {
    const reserved = this.sql.exec("SELECT hessian FROM reservations WHERE host = ?", host.id).toArray();
    const { waiting, resident } = host.queue;
    return {
      ...host,
      mayBeAsleep: host.seen === UNKNOWN_STATE.seen,
      // The last heartbeat may include reserved layers, so the larger number is used rather than the sum.
      load: Math.max(waiting + resident, reserved.length) / host.capacity,
      hasStatistics: hessian !== undefined &&
        (host.factors.includes(hessian) || reserved.some((row) => row.hessian === hessian)),
    };
  }
}
