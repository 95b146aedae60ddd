/** The table of hosts. A host whose heartbeats have stopped stays in the table as lost. */

import type { EdgeHost } from "../../../protocol/messages.ts";
import { make, setText } from "../dom.ts";
import { formatAge, shortId } from "../format.ts";
import { KeyedRows, type Row } from "./keyed_rows.ts";

interface HostState extends EdgeHost {
  readonly isLost: boolean;
  /** Milliseconds since the last heartbeat, by the clock of the edge. */
  readonly age: number;
}

/** The table, with the last known state of each host. */
export class HostTable {
  readonly #rows: KeyedRows<HostState>;
  readonly #seen = new Map<string, EdgeHost>();

  constructor(body: HTMLElement) {
    this.#rows = new KeyedRows(body, ({ id }) => id, createRow);
  }

  /** Shows the hosts that are alive or lost. @param now the time of the edge in milliseconds since 1970 */
  show(alive: readonly EdgeHost[], now: number): void {
    for (const host of alive) this.#seen.set(host.id, host);
    const ids = new Set(alive.map(({ id }) => id));
    const states = [...this.#seen.values()].map((host) => ({
      ...host,
      isLost: !ids.has(host.id),
      age: now - host.seen,
    }));
    this.#rows.show(states.sort((a, b) => Number(a.isLost) - Number(b.isLost)));
  }
}

function createRow(): Row<HostState> {
  const device = make("th", { scope: "row" }), name = make("td");
  const load = make("td"), seen = make("td");
  return {
    element: make("tr", {}, device, name, load, seen),
    update: ({ id, url, backend, adapter, queue, capacity, isLost, age, seen: heartbeat }) => {
      setText(device, `${adapter} (${backend})`);
      setText(name, shortId(id));
      name.title = url;
      setText(load, isLost ? "–" : `${queue.resident} of ${capacity} layers, ${queue.waiting} waiting`);
      const lastSeen = heartbeat === 0 ? "none, a request wakes the host" : formatAge(age);
      setText(seen, isLost ? `lost, ${lastSeen}` : lastSeen);
      seen.parentElement?.classList.toggle("lost", isLost);
    },
  };
}
