/**
 * Tests the registry of GPU hosts, in an SQLite database in memory, and the resource `/v1/hosts/:id`. A
 * host calls it to register itself at the edge, which is Pare's Cloudflare Worker, and to deregister. The
 * requests carry a signature with the secret that edge and hosts share.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { createEdge } from "../../src/edge/app.ts";
import { ALIVE_MILLISECONDS, HostRegistry } from "../../src/edge/hosts/host_registry.ts";
import { parseWokenHosts, type WokenHost } from "../../src/edge/hosts/woken_hosts.ts";
import type { Remote } from "../../src/edge/runtime.ts";
import { type Heartbeat, heartbeatSchema } from "../../src/protocol/resources/hosts.ts";
import { signTicket } from "../../src/protocol/tickets.ts";
import { loggedErrors } from "./memory_edge.ts";
import { memorySql } from "./memory_sql.ts";

/** The digests of the statistics of two layers. The statistics of a layer are the Hessian of its inputs. */
const H1 = "sha256:" + "1".repeat(64), H2 = "sha256:" + "2".repeat(64);

/** Returns the state of an idle host that has places for two layers. `changes` replaces fields of it. */
function stateOf(changes: Partial<Heartbeat> = {}): Heartbeat {
  const queue = { waiting: 0, resident: 0 };
  return { url: "http://host", backend: "cpu", adapter: "a", capacity: 2, queue, factors: [], ...changes };
}

/** @param woken the hosts that are woken by a request */
function createRegistry(...woken: WokenHost[]) {
  const clock = { now: 1000 };
  return { clock, registry: new HostRegistry(memorySql(), () => clock.now, () => woken) };
}

describe("HostRegistry", () => {
  it("lists a host from its first heartbeat until its heartbeats stop or it deregisters", () => {
    const { clock, registry: hosts } = createRegistry();
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

  it("spreads layers over hosts in proportion to their capacities", () => {
    const { registry: hosts } = createRegistry();
    hosts.recordHeartbeat("a", stateOf({ capacity: 1 }));
    hosts.recordHeartbeat("b", stateOf({ capacity: 3 }));
    const chosen = ["1", "2", "3", "4"].map((task) => hosts.choose(task, undefined)!.id);
    assert.deepEqual(chosen, ["a", "b", "b", "b"]);
    hosts.release("1");
    assert.equal(hosts.choose("5", undefined)!.id, "a");
  });

  it("includes the layers of other clients in the load of a host", () => {
    const { registry: hosts } = createRegistry();
    hosts.recordHeartbeat("a", stateOf({ queue: { waiting: 1, resident: 2 } }));
    hosts.recordHeartbeat("b", stateOf({ queue: { waiting: 0, resident: 1 } }));
    assert.equal(hosts.choose("1", undefined)!.id, "b");
  });

  it("prefers a host that has or will have the layer's statistics, unless this host is full", () => {
    const { registry: hosts } = createRegistry();
    hosts.recordHeartbeat("a", stateOf());
    hosts.recordHeartbeat("b", stateOf({ factors: [H1], queue: { waiting: 0, resident: 1 } }));
    assert.equal(hosts.choose("1", H1)!.id, "b", "b has the statistics");
    assert.equal(hosts.choose("2", H1)!.id, "b", "b still has a free place");
    assert.equal(hosts.choose("3", H1)!.id, "a", "b is full");
    assert.equal(hosts.choose("4", H1)!.id, "a", "a will have the statistics");
    assert.equal(hosts.choose("5", H2)!.id, "a", "all hosts are full, and none has these statistics");
  });

  it("reserves one place at a host per task, until the reservation expires", () => {
    const { clock, registry: hosts } = createRegistry();
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

describe("HostRegistry with hosts that are woken by a request", () => {
  const sleeper = { id: "sleeper", url: "https://sleeper.example" };

  it("lists them, and chooses one only while no host that is alive has a free place", () => {
    const { registry: hosts } = createRegistry(sleeper);
    hosts.recordHeartbeat("a", stateOf({ capacity: 1 }));
    assert.deepEqual(hosts.usableHosts().map(({ id, url, seen }) => [id, url, seen]), [
      ["a", "http://host", 1000],
      ["sleeper", "https://sleeper.example", 0],
    ]);
    assert.deepEqual(hosts.choose("1", undefined), { id: "a", url: "http://host", mayBeAsleep: false });
    assert.deepEqual(hosts.choose("2", undefined), { ...sleeper, mayBeAsleep: true });
    hosts.release("1");
    assert.equal(hosts.choose("3", undefined)!.id, "a");
  });

  it("keeps one that has failed, and uses the state of one that sends heartbeats", () => {
    const { clock, registry: hosts } = createRegistry(sleeper);
    hosts.deregister("sleeper");
    assert.equal(hosts.choose("1", undefined)!.id, "sleeper");
    hosts.recordHeartbeat("sleeper", stateOf({ url: sleeper.url }));
    assert.equal(hosts.usableHosts().length, 1);
    assert.deepEqual(hosts.choose("1", undefined), { ...sleeper, mayBeAsleep: false });
    clock.now += ALIVE_MILLISECONDS + 1;
    assert.equal(hosts.choose("1", undefined)!.mayBeAsleep, true);
  });

  it("come from EDGE_WOKEN_HOSTS, whose entries are checked", () => {
    assert.deepEqual(parseWokenHosts(""), []);
    assert.deepEqual(parseWokenHosts("sleeper=https://sleeper.example, b=http://h/?a=b"), [
      sleeper,
      { id: "b", url: "http://h/?a=b" },
    ]);
    for (
      const entry of ["https://a.example", "a b=https://a.example", "a=ftp://b", "a=http://169.254.169.254"]
    ) {
      assert.throws(() => parseWokenHosts(entry), {
        name: "RangeError",
        message: `EDGE_WOKEN_HOSTS entry ${entry}: must be ID=URL with the URL of a host`,
      });
    }
  });
});

describe("heartbeatSchema", () => {
  const accepts = (url: string) => heartbeatSchema.safeParse(stateOf({ url })).success;

  it("accepts the URL of a host", () => {
    const urls = ["http://127.0.0.1:8000", "https://gpu.example/path", "http://10.0.0.1", "http://[::1]:80"];
    for (const url of urls) assert.ok(accepts(url), url);
  });

  it("refuses URLs with credentials, and wildcard and link-local addresses in every notation", () => {
    for (
      const url of [
        "http://user@gpu.example",
        "http://user:key@gpu.example",
        "http://169.254.169.254",
        "http://2852039166/latest",
        "http://0xa9fea9fe",
        "http://[fe80::1]",
        "http://[FEBF::1]:80",
        "http://[::ffff:169.254.169.254]",
        "http://0.0.0.0:8000",
        "http://[::]",
        "ftp://gpu.example",
        "http://gpu.example/" + "x".repeat(3000),
      ]
    ) {
      assert.ok(!accepts(url), url);
    }
  });
});

describe("/v1/hosts/:id", () => {
  it("refuses a heartbeat that is too large or has no Content-Length before it checks the host's signature", async () => {
    const put = async (length: Record<string, string>) => {
      const headers = { "Content-Type": "application/json", ...length };
      const init = { method: "PUT", headers, body: "{}" };
      const answer = await createEdge().request("/v1/hosts/h", init, { EDGE_HOST_SECRET: "x".repeat(32) });
      return [answer.status, (await answer.json()).code];
    };
    assert.deepEqual(await put({}), [411, "length_required"]);
    assert.deepEqual(await put({ "Content-Length": "65537" }), [413, "too_large"]);
  });

  it("does not log a connection that breaks in the middle of a heartbeat as a fault of the edge", async () => {
    const broken = new ReadableStream({
      start: (body) => body.error(new TypeError("Network connection lost.")),
    });
    const headers = { "Content-Type": "application/json", "Content-Length": "100" };
    const logged = await loggedErrors(async () => {
      const answer = await createEdge().request("/v1/hosts/h", { method: "PUT", headers, body: broken }, {
        EDGE_HOST_SECRET: "x".repeat(32),
      });
      assert.deepEqual([answer.status, (await answer.json()).code], [400, "truncated_body"]);
    });
    assert.deepEqual(logged, []);
  });

  it("registers a host only if the request has a valid signature that was not used before", async () => {
    const secret = "a secret of thirty-two bytes: 123", path = "/v1/hosts/h";
    const registry = new HostRegistry(memorySql(), Date.now) as unknown as Remote<HostRegistry>;
    const env = { EDGE_HOST_SECRET: secret, HOSTS: { getByName: () => registry } };
    const state = JSON.stringify(stateOf());
    const subject = { audience: "edge", method: "PUT", path, body: new TextEncoder().encode(state) };
    const send = async (method: string, ticket: string, body?: string) => {
      const headers = {
        "Content-Type": "application/json",
        "Content-Length": String(body?.length ?? 0),
        Authorization: ticket,
      };
      return (await createEdge().request(path, { method, headers, body }, env)).status;
    };
    const ticket = await signTicket(secret, subject, Date.now());
    assert.equal(await send("PUT", "Bearer key", state), 401);
    assert.equal(await send("PUT", await signTicket(secret.toUpperCase(), subject, Date.now()), state), 401);
    assert.equal(await send("PUT", ticket, state.replace("cpu", "gpu")), 401);
    assert.deepEqual(await registry.aliveHosts(), []);
    assert.equal(await send("PUT", ticket, state), 204);
    assert.equal(await send("PUT", ticket, state), 401);
    assert.deepEqual((await registry.aliveHosts()).map(({ id }) => id), ["h"]);
    const leave = { ...subject, method: "DELETE", body: new Uint8Array(0) };
    assert.equal(await send("DELETE", await signTicket(secret, leave, Date.now())), 204);
    assert.deepEqual(await registry.aliveHosts(), []);
  });
});
