/** Tests the Durable Object that starts and stops the container of a solver, with a simulated container. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { hostFetch, SOLVER_HOST, SolverContainer } from "../../src/edge/hosts/solver_container.ts";
import type { Container } from "../../src/edge/runtime.ts";
import { solverVariables, wokenHosts } from "../../src/edge/settings.ts";
import { emptyState, memoryNamespace } from "./memory_edge.ts";

const ENV = {
  EDGE_HOST_SECRET: "a secret of thirty-two bytes: 123",
  BLOBS_S3_URL: "https://bucket.example/pare",
};

/** Returns a solver, and what its container has been told. The container runs once it was started. */
function simulatedSolver() {
  const calls: string[] = [], alarms: number[] = [];
  const container = {
    running: false,
    start: ({ env, enableInternet }: Parameters<Container["start"]>[0]) => {
      container.running = true;
      calls.push(`start ${env.PARE_HOST_ID} ${enableInternet}`);
    },
    getTcpPort: (port: number) => ({
      fetch: ({ method, url }: Request) => {
        calls.push(`${method} ${port} ${url}`);
        return Promise.resolve(new Response("answer"));
      },
    }),
    setInactivityTimeout: () => Promise.resolve(),
    signal: (signal: number) => void calls.push(`signal ${signal}`),
  };
  const setAlarm = (time: number) => Promise.resolve(void alarms.push(time));
  const storage = { ...emptyState().storage, setAlarm };
  const solver = new SolverContainer({ storage, container }, () => solverVariables(ENV));
  return { solver, container, calls, alarms };
}

describe("SolverContainer", () => {
  it("starts its container at the first request, and stops it when the alarm after the last request comes", async () => {
    const { solver, container, calls, alarms } = simulatedSolver(), start = Date.now();
    for (const path of ["ping", "v1/tasks"]) {
      const response = await solver.fetch(new Request(`${SOLVER_HOST.url}/${path}`));
      assert.equal(await response.text(), "answer");
    }
    assert.equal(alarms.length, 2);
    for (const alarm of alarms) assert.ok(alarm >= start + 300_000 && alarm < start + 310_000);
    solver.alarm();
    container.running = false;
    solver.alarm();
    assert.deepEqual(calls, [
      "start solver true",
      "GET 8000 http://solver.invalid/ping",
      "GET 8000 http://solver.invalid/v1/tasks",
      "signal 15",
    ]);
  });

  it("says that wrangler.toml declares no container, if it has none", async () => {
    const solver = new SolverContainer(emptyState(), () => ({}));
    await assert.rejects(solver.fetch(new Request(SOLVER_HOST.url)), /wrangler.toml declares no container/);
  });

  it("gets the requests to the solver, which is a host only if the binding exists", async () => {
    const { solver, calls } = simulatedSolver(), SOLVER = memoryNamespace(() => solver);
    await hostFetch(SOLVER)(new URL(`${SOLVER_HOST.url}/ping`), { redirect: "manual" });
    assert.equal(calls.at(-1), "GET 8000 http://solver.invalid/ping");
    assert.deepEqual(wokenHosts({ EDGE_WOKEN_HOSTS: "a=http://a", SOLVER }).map(({ id }) => id), [
      "a",
      "solver",
    ]);
    assert.deepEqual(wokenHosts({}), []);
  });

  it("names the variable without which its host cannot read tensors", () => {
    assert.throws(() => solverVariables({ ...ENV, BLOBS_S3_URL: "" }), /BLOBS_S3_URL is not set/);
  });

  it("gives its host the secret and the bucket of the edge, and a key that nobody has", () => {
    const [{ PARE_KEYS, ...variables }, { PARE_KEYS: other }] = [solverVariables(ENV), solverVariables(ENV)];
    assert.match(PARE_KEYS, /^[0-9a-f]{64}$/);
    assert.notEqual(PARE_KEYS, other);
    assert.deepEqual(variables, {
      PORT: "8000",
      PARE_BACKEND: "cpu",
      PARE_HOST_ID: "solver",
      PARE_BLOB_ORIGINS: "https://bucket.example",
      EDGE_HOST_SECRET: ENV.EDGE_HOST_SECRET,
    });
  });
});
