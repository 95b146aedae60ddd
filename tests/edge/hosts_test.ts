/** The choice of a host, over a database of SQLite as a Durable Object has one. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { createEdge } from "../../src/edge/app.ts";
import { ALIVE_MILLISECONDS, HostRegistry } from "../../src/edge/hosts/registry.ts";
import type { HostState } from "../../src/protocol/jobs.ts";
import { memorySql } from "./memory_sql.ts";

const H1 = "sha256:" + "1".repeat(64), H2 = "sha256:" + "2".repeat(64);

function stateOf(changes: Partial<HostState> = {}): HostState {
  const queue = { waiting: 0, resident: 0 };
  return { url: "http://host", backend: "cpu", adapter: "a", capacity: 2, queue, factors: [], ...changes };
}

function registry() {
  const clock = { now: 1000 };
  return { clock, registry: new HostRegistry(memorySql(), () => clock.now) };
}

describe("the registry of hosts", () => {
  it("has none at first, and forgets who is silent or leaves", () => {
    const { clock, registry: hosts } = registry();
    assert.equal(hosts.choose("t", undefined), undefined);
    hosts.recordHeartbeat("a", stateOf());
    clock.now += ALIVE_MILLISECONDS;
    hosts.recordHeartbeat("b", stateOf());
    assert.deepEqual(hosts.aliveHosts().map(({ id }) => id), ["a", "b"]);
    clock.now += 1;
    assert.deepEqual(hosts.aliveHosts().map(({ id }) => id), ["b"]);
    hosts.deregister("b");
    assert.equal(hosts.choose("t", undefined), undefined);
  });

  it("spreads layers over hosts, by what each can hold", () => {
    const { registry: hosts } = registry();
    hosts.recordHeartbeat("a", stateOf({ capacity: 1 }));
    hosts.recordHeartbeat("b", stateOf({ capacity: 3 }));
    const chosen = ["1", "2", "3", "4"].map((task) => hosts.choose(task, undefined)!.id);
    assert.deepEqual(chosen, ["a", "b", "b", "b"]);
    hosts.release("1");
    assert.equal(hosts.choose("5", undefined)!.id, "a");
  });

  it("counts what a host has of others", () => {
    const { registry: hosts } = registry();
    hosts.recordHeartbeat("a", stateOf({ queue: { waiting: 1, resident: 2 } }));
    hosts.recordHeartbeat("b", stateOf({ queue: { waiting: 0, resident: 1 } }));
    assert.equal(hosts.choose("1", undefined)!.id, "b");
  });

  it("prefers who has the statistics, or will have them, while there is a place", () => {
    const { registry: hosts } = registry();
    hosts.recordHeartbeat("a", stateOf());
    hosts.recordHeartbeat("b", stateOf({ factors: [H1], queue: { waiting: 0, resident: 1 } }));
    assert.equal(hosts.choose("1", H1)!.id, "b", "it has them");
    assert.equal(hosts.choose("2", H1)!.id, "b", "and still a place");
    assert.equal(hosts.choose("3", H1)!.id, "a", "full");
    assert.equal(hosts.choose("4", H1)!.id, "a", "it will have them");
    assert.equal(hosts.choose("5", H2)!.id, "a", "all full, none has them");
  });

  it("gives a task one place, however often it asks, and not for ever", () => {
    const { clock, registry: hosts } = registry();
    hosts.recordHeartbeat("a", stateOf({ capacity: 1 }));
    hosts.recordHeartbeat("b", stateOf({ capacity: 1 }));
    assert.equal(hosts.choose("1", undefined)!.id, "a");
    assert.equal(hosts.choose("1", undefined)!.id, "a");
    assert.equal(hosts.choose("2", undefined)!.id, "b");
    clock.now += 3_600_001;
    hosts.recordHeartbeat("a", stateOf({ capacity: 1 }));
    hosts.recordHeartbeat("b", stateOf({ capacity: 1, queue: { waiting: 0, resident: 1 } }));
    assert.equal(hosts.choose("3", undefined)!.id, "a");
  });
});

describe("PUT /v1/hosts/:id", () => {
  it("reads no body of unknown length, nor one longer than a host has, to judge its ticket", async () => {
    const put = async (length: Record<string, string>) => {
      const headers = { "Content-Type": "application/json", ...length };
      const init = { method: "PUT", headers, body: "{}" };
      const answer = await createEdge().request("/v1/hosts/h", init, { EDGE_HOST_SECRET: "x".repeat(32) });
      return [answer.status, (await answer.json()).code];
    };
    assert.deepEqual(await put({}), [411, "length_required"]);
    assert.deepEqual(await put({ "Content-Length": "65537" }), [413, "too_large"]);
  });
});
