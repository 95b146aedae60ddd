/** Tests `/v1/hessians`, where a client stores calibration statistics once and uses them for several layers. */

import { after, afterEach, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { normals } from "../support/random.ts";
import { file, floats, packUpper } from "../layer/bodies.ts";
import { answerOf, problemOf, startHost, type TestHost } from "./host.ts";

const N = 90, ROWS = 16;
const statistics = correlatedHessian(N, { seed: 5 });
const hessian = floats("F32", [N, N], statistics);
const body = file({ hessian_upper: floats("F32", [(N * (N + 1)) / 2], packUpper(statistics, N)) });

function layer(seed: number) {
  return floats("F32", [ROWS, N], normals(ROWS * N, seed));
}

describe("/v1/hessians", () => {
  let host: TestHost, digest: string, path: string;
  before(async () => {
    digest = formatDigest(await sha256(body));
    path = `/v1/hessians/${digest}`;
    host = await startHost({ limits: { tileEdge: 64 } });
  });
  after(() => host.close());
  // Each test starts with an empty store, even after a failed one.
  afterEach(async () => void await host.request(path, { method: "DELETE" }));

  async function prune(seed: number, query = "") {
    const response = await host.send(
      "POST",
      `/v1/layers?hessian=${digest}&${query}`,
      file({ weight: layer(seed) }),
    );
    return await answerOf(response);
  }

  it("stores, describes and deletes statistics", async () => {
    const live = host.liveBytes();
    assert.equal((await host.request(path, { method: "HEAD" })).status, 404);
    const put = await host.send("PUT", path, body);
    assert.equal(put.status, 201);
    assert.deepEqual(await put.json(), { digest, order: N });
    const head = await host.request(path, { method: "HEAD" });
    assert.deepEqual([head.status, await head.text()], [200, ""]);
    assert.deepEqual(await (await host.request(path)).json(), { digest, order: N });
    const stored = host.liveBytes();
    assert.ok(stored > live);
    assert.equal((await host.send("PUT", path, body)).status, 200);
    assert.equal(host.liveBytes(), stored);
    assert.equal((await host.request(path, { method: "DELETE" })).status, 204);
    assert.equal((await host.request(path, { method: "DELETE" })).status, 404);
    assert.equal(host.liveBytes(), live);
  });

  it("accepts the same statistics from two clients at once", async () => {
    const answers = await Promise.all([host.send("PUT", path, body), host.send("PUT", path, body)]);
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 201]);
    await host.request(path, { method: "DELETE" });
  });

  it("prunes a layer with stored statistics as with statistics in its body, and reuses their factor", async () => {
    const live = host.liveBytes();
    await host.send("PUT", path, body);
    const reused: boolean[] = [];
    for (
      const query of "  damping=0.1 blocksize=32 pattern=2:4 method=magnitude blocksize=32".split(" ")
    ) {
      const stored = await prune(7, query);
      const sent = await answerOf(
        await host.send("POST", `/v1/layers?${query}`, file({ weight: layer(7), hessian })),
      );
      assert.deepEqual(stored.weight.data, sent.weight.data, query);
      assert.equal(stored.report.loss, sent.report.loss);
      assert.equal(sent.report.factor_reused, false);
      reused.push(stored.report.factor_reused);
    }
    // The store holds the factor of one damping and block size at a time.
    assert.deepEqual(reused, [false, true, false, false, false, false, false]);
    await host.request(path, { method: "DELETE" });
    assert.equal(host.liveBytes(), live);
  });

  it("factors the statistics once for layers that arrive at the same time", async () => {
    await host.send("PUT", path, body);
    const answers = await Promise.all([prune(1), prune(2), prune(3)]);
    // The bodies are received concurrently, so any of the layers may be solved first. Only the first layer makes the factor.
    assert.deepEqual(answers.map(({ report }) => report.factor_reused).sort(), [false, true, true]);
    await host.request(path, { method: "DELETE" });
  });

  it("finishes a layer whose statistics are deleted while it is pruned", async () => {
    const live = host.liveBytes();
    await host.send("PUT", path, body);
    const solving = prune(1);
    await new Promise((resolve) => setTimeout(resolve, 1));
    await host.request(path, { method: "DELETE" });
    await solving;
    assert.equal(host.liveBytes(), live);
    const gone = await host.send("POST", `/v1/layers?hessian=${digest}`, file({ weight: layer(1) }));
    assert.equal((await problemOf(gone)).code, "hessian_not_found");
  });

  it("refuses a layer that has statistics in its body and also names stored statistics", async () => {
    await host.send("PUT", path, body);
    const response = await host.send(
      "POST",
      `/v1/layers?hessian=${digest}`,
      file({ weight: layer(1), hessian }),
    );
    assert.equal((await problemOf(response)).code, "shape_mismatch");
    await host.request(path, { method: "DELETE" });
  });
});
