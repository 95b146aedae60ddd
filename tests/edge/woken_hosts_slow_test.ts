/**
 * Tests jobs in the real Workers runtime whose only host is woken by a request. The local runtime cannot start
 * containers, so the host is a process, which the Durable Object of the solver starts outside of that runtime.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { startHost } from "../../scripts/processes/child_host.ts";
import { SOLVER_HOST, SolverContainer } from "../../src/edge/hosts/solver_container.ts";
import { solverVariables } from "../../src/edge/settings.ts";
import { emptyState } from "./memory_edge.ts";
import { SECRET } from "./edge_hosts.ts";
import { type JobEdge, layerBody, startJobEdge } from "./job_edge.ts";
import { StandInContainer } from "./stand_in_container.ts";
import { assertSame } from "../support/assert_same.ts";

describe("jobs in the Workers runtime at a host that is woken by a request", () => {
  const container = new StandInContainer(), pings: number[] = [];
  const solver = new SolverContainer(
    { ...emptyState(), container },
    () => solverVariables({ EDGE_HOST_SECRET: SECRET, BLOBS_S3_URL: edge.url }),
  );
  let platform: Deno.HttpServer<Deno.NetAddr>, edge: JobEdge;

  before(async () => {
    platform = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      // While the host does not listen yet, a platform answers in its place.
      const response = await solver.fetch(request).catch(() => new Response(null, { status: 503 }));
      if (new URL(request.url).pathname === "/ping") pings.push(response.status);
      return response;
    });
    const url = `http://127.0.0.1:${platform.addr.port}`;
    edge = await startJobEdge(0, { EDGE_WOKEN_HOSTS: `${SOLVER_HOST.id}=${url}`, EDGE_HOST_WAIT: "60" });
    // This host is not registered. The test compares the answers of the job with its answers.
    edge.hosts.push(await startHost(["--backend", "cpu"]));
  });
  after(async () => {
    await container.signal();
    await edge.close();
    await platform.shutdown();
  });

  for (const [run, seed] of [["first", 1], ["second", 20]] as const) {
    it(`a job wakes its host for the ${run} time, and ends with the same bytes as at a host that runs`, async () => {
      pings.length = 0;
      const bodies = [[33, 47], [64, 40]].map(([rows, cols], index) =>
        layerBody(rows, cols, seed + 7 * index)
      );
      const layers = await Promise.all(
        bodies.map(async (body, index) => ({ name: `layer ${index}`, weight: await edge.store(body) })),
      );
      const { id } = await edge.jobs.submit(layers);
      const states = await edge.settledLayers(id, 90_000);
      assert.deepEqual(
        states.map(({ state, attempts, host, error }) => [state, attempts, host, error]),
        layers.map(() => ["done", 1, SOLVER_HOST.id, null]),
      );
      for (const [index, layer] of states.entries()) {
        const { weight, mask } = await edge.solveDirectly(bodies[index], "sparsity=0.5");
        const pruned = await edge.jobs.result(layer);
        assertSame({ weight: pruned.weight, mask: pruned.mask }, { weight, mask }, layer.name);
      }
      assert.equal(pings[0], 503, "the first request finds no host");
      assert.ok(pings.includes(200));
      solver.alarm();
      await container.signal(); // waits for the end of the process
      assert.equal(container.running, false);
    });
  }

  it("each of the two jobs started the host once, and the edge lists the host although it sleeps", async () => {
    assert.equal(container.starts.length, 2);
    const { hosts } = await (await edge.request("/v1/hosts")).json();
    assert.deepEqual(hosts.map(({ id, seen }: { id: string; seen: number }) => [id, seen]), [[
      SOLVER_HOST.id,
      0,
    ]]);
  });
});
