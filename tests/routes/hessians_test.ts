/** Tests `/v1/hessians`, where a client stores calibration statistics once and uses them for several layers. */

import { after, afterEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { assertSame } from "../support/assert_same.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { file, floats, packUpper } from "../layer/bodies.ts";
import { answerOf, problemOf, startHost } from "./host.ts";

const N = 90, ROWS = 16;
const statistics = correlatedHessian(N, { seed: 5 });
const hessian = floats("F32", [N, N], statistics);
const upper = (matrix: Float32Array) => floats("F32", [(N * (N + 1)) / 2], packUpper(matrix, N));
const body = file({ hessian_upper: upper(statistics) });
const validation = correlatedHessian(N, { seed: 6, tokens: 200 });

function layer(seed: number) {
  return floats("F32", [ROWS, N], normals(ROWS * N, seed));
}

const digest = formatDigest(await sha256(body));
const path = `/v1/hessians/${digest}`;
const host = await startHost({ limits: { tileEdge: 64 } });
after(() => host.close());

describe("/v1/hessians", () => {
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
      assertSame(stored.weight.data, sent.weight.data, query);
      assert.equal(stored.report.loss, sent.report.loss);
      assert.equal(sent.report.factor_reused, false);
      reused.push(stored.report.factor_reused);
    }
    // The store holds the factor of one damping and block size at a time.
    assert.deepEqual(reused, [false, true, false, false, false, false, false]);
    await host.request(path, { method: "DELETE" });
    assert.equal(host.liveBytes(), live);
  });

  it("uses the validation statistics that are stored with the statistics, until both are deleted", async () => {
    const live = host.liveBytes();
    await host.send("PUT", path, body);
    const withoutValidation = host.liveBytes() - live;
    const both = file({ hessian_upper: upper(statistics), validation_hessian_upper: upper(validation) });
    const name = formatDigest(await sha256(both)), bothPath = `/v1/hessians/${name}`;
    const put = await host.send("PUT", bothPath, both);
    assert.deepEqual([put.status, await put.json()], [201, { digest: name, order: N }]);
    assert.equal(host.liveBytes() - live, 3 * withoutValidation);
    const matrix = floats("F32", [N, N], validation);
    const reused: boolean[] = [];
    for (
      const query
        of " damping=0.01 damping=auto bits=3 refit=5&bits=3 method=alps&effort=fast pattern=2:4 method=magnitude"
          .split(" ")
    ) {
      const stored = await answerOf(
        await host.send("POST", `/v1/layers?hessian=${name}&${query}`, file({ weight: layer(7) })),
      );
      const sent = await answerOf(
        await host.send(
          "POST",
          `/v1/layers?${query}`,
          file({ weight: layer(7), hessian, validation_hessian: matrix }),
        ),
      );
      assertSame(stored.weight.data, sent.weight.data, query);
      for (
        const figure of ["loss", "validation_loss", "validation_error", "validation_choice", "nearest_rows"]
      ) {
        assert.equal(stored.report[figure], sent.report[figure], `${query}: ${figure}`);
      }
      assert.ok(stored.report.validation_error > 0);
      reused.push(stored.report.factor_reused);
      if (query === "damping=auto") {
        await assert.rejects(prune(7, query), /validation_hessian: expected F32 \[90, 90\]/);
      } else assert.ok(!("validation_error" in (await prune(7, query)).report));
    }
    // A chosen damping neither uses nor replaces the stored factor.
    assert.deepEqual(reused, [false, true, false, true, true, true, true, false]);
    const beside = await host.send(
      "POST",
      `/v1/layers?hessian=${name}`,
      file({ weight: layer(7), validation_hessian: matrix }),
    );
    const { code, tensor } = await problemOf(beside);
    assert.deepEqual([code, tensor], ["shape_mismatch", "validation_hessian"]);
    for (const each of [path, bothPath]) await host.request(each, { method: "DELETE" });
    assert.equal(host.liveBytes(), live);
  });

  it("refuses validation statistics that are wrong, and names their tensor", async () => {
    const live = host.liveBytes();
    const wrong = async (tensor: ReturnType<typeof floats>) => {
      const bytes = file({ hessian_upper: upper(statistics), validation_hessian: tensor });
      return await problemOf(
        await host.send("PUT", `/v1/hessians/${formatDigest(await sha256(bytes))}`, bytes),
      );
    };
    const changed = (index: number, value: number) =>
      floats("F32", [N, N], validation.map((entry, i) => i === index ? value : entry));
    for (
      const [tensor, expected] of [
        [floats("F32", [N - 1, N - 1], validation.slice(0, (N - 1) ** 2)), "shape_mismatch"],
        [changed(N + 3, NaN), "non_finite"],
        [changed(N + 3, 1e6), "not_symmetric"],
      ] as const
    ) {
      const { code, tensor: name } = await wrong(tensor);
      assert.deepEqual([code, name], [expected, "validation_hessian"]);
    }
    const negative = await host.send(
      "POST",
      "/v1/layers",
      file({ weight: layer(7), hessian, validation_hessian: changed(4 * (N + 1), -1) }),
    );
    const { code, detail } = await problemOf(negative);
    assert.equal(code, "not_positive_definite");
    assert.match(detail!, /^validation .*4.*-1/);
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
