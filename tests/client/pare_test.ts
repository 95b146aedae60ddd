/**
 * Tests the client with one fake host: which requests it sends for a layer and for a model, and how it reads
 * the answers.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { MalformedAnswerError } from "../../src/client/errors.ts";
import type { LayerGroup, ModelSource, PruneEvent } from "../../src/client/model_pruner.ts";
import { Pare } from "../../src/client/pare.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import {
  type Answer,
  f32,
  FakeHost,
  noContent,
  problem,
  type Received,
  report,
  solved,
} from "./fake_host.ts";

const WEIGHT = f32([2, 3], [0, 0, 0, 4, 5, 6]);
const HESSIAN = f32([6], [1, 0, 0, 1, 0, 1]);

function pare(host: FakeHost): Pare {
  return new Pare({ baseUrl: "http://fake", fetch: host.fetch, backoffMs: 1, retries: 2 });
}

/** Answers like a host that stores statistics and solves layers. */
const working: Answer = (received) => received.method === "POST" ? solved(received) : noContent(received);

/**
 * A model with groups of the given layer names. The layers of a group share one Hessian. The model records
 * which layers were replaced and whether its generator has ended.
 */
class FakeModel implements ModelSource {
  readonly replaced: string[] = [];
  isEnded = false;
  readonly layerCount: number;

  constructor(readonly names: readonly (readonly string[])[]) {
    this.layerCount = names.flat().length;
  }

  async *groups(): AsyncGenerator<LayerGroup, void, undefined> {
    try {
      for (const [block, names] of this.names.entries()) yield await this.group(block, names);
    } finally {
      this.isEnded = true;
    }
  }

  group(block: number, names: readonly string[]): Promise<LayerGroup> {
    const replace = (name: string, weight: HostTensor) => {
      assert.deepEqual(weight.data, WEIGHT.data);
      this.replaced.push(name);
      return Promise.resolve();
    };
    const layers = names.map((name) => ({ name, weight: WEIGHT }));
    return Promise.resolve({ block, hessian: HESSIAN, layers, replace });
  }
}

/** Prunes a model, or a new one with groups of these layers, and returns the events. */
function pruneModel(
  host: FakeHost,
  model: ModelSource | readonly (readonly string[])[],
  query: Parameters<Pare["pruneModel"]>[1] = {},
  options: Parameters<Pare["pruneModel"]>[2] = {},
): Promise<PruneEvent[]> {
  const source = "groups" in model ? model : new FakeModel(model);
  return Array.fromAsync(pare(host).pruneModel(source, query, options));
}

/** Lists the methods of the requests that a host has received. */
function methodsOf({ received }: FakeHost): string {
  return received.map(({ method }) => method).join(" ");
}

function tensorNames({ body }: Received): string[] {
  return [...decode(body).tensors.keys()];
}

describe("Pare.pruneLayer", () => {
  it("sends only the tensors and parameters that are defined", async () => {
    const host = new FakeHost(solved);
    await pare(host).pruneLayer(
      { weight: WEIGHT, hessian_upper: HESSIAN, mask: undefined },
      { pattern: "2:4", error: false, sparsity: undefined },
    );
    assert.deepEqual(host.log, ["POST /v1/layers?pattern=2%3A4&error=false"]);
    assert.deepEqual(decode(host.received[0].body).tensors.get("weight"), WEIGHT);
    assert.deepEqual(tensorNames(host.received[0]), ["weight", "hessian_upper"]);
  });

  it("returns the weight, the mask and the report of the answer", async () => {
    const pruned = await pare(new FakeHost(solved)).pruneLayer({ weight: WEIGHT, hessian_upper: HESSIAN });
    assert.deepEqual(pruned.weight, WEIGHT);
    assert.deepEqual(pruned.mask.shape, [2, 1]);
    assert.deepEqual(pruned.report, { ...report(2, 3), loss: 0, relative_error: 0 });
  });

  it("throws the host's refusal", async () => {
    const host = new FakeHost(problem(422, "not_positive_definite"));
    await assert.rejects(pare(host).pruneLayer({ weight: WEIGHT, hessian_upper: HESSIAN }), {
      name: "PareError",
      code: "not_positive_definite",
      requestId: "r-1",
    });
  });

  it("throws an error that names the missing or malformed part of an answer", async () => {
    const mask: HostTensor = { dtype: "U8", shape: [2, 1], data: Uint8Array.of(7, 7) };
    const whole = { weight: WEIGHT, mask };
    const good = JSON.stringify(report(2, 3));
    const cases: [Uint8Array<ArrayBuffer>, RegExp][] = [
      [encode({ mask }, { report: good }), /"weight" is missing/],
      [encode({ weight: WEIGHT }, { report: good }), /"mask" is missing/],
      [encode(whole), /report is missing or not a report/],
      [encode(whole, { report: "{" }), /report is missing or not a report/],
      [encode(whole, { report: '{"rows":2}' }), /report is missing or not a report/],
    ];
    for (const [body, message] of cases) {
      await assert.rejects(
        pare(new FakeHost(() => new Response(body))).pruneLayer({ weight: WEIGHT }),
        message,
      );
    }
  });

  it("rejects a truncated answer without a Content-Length", async () => {
    const host = new FakeHost(async (received) => {
      const whole = new Uint8Array(await solved(received).arrayBuffer());
      return new Response(new Blob([whole.subarray(0, whole.length - 5)]).stream());
    });
    await assert.rejects(pare(host).pruneLayer({ weight: WEIGHT }), MalformedAnswerError);
  });
});

describe("Pare.putHessian", () => {
  it("returns the digest of the body that it sends", async () => {
    const host = new FakeHost(noContent);
    const name = await pare(host).putHessian(HESSIAN);
    const hex = createHash("sha256").update(host.received[0].body).digest("hex");
    assert.equal(name, `sha256:${hex}`);
    assert.deepEqual(host.log, [`PUT /v1/hessians/sha256:${hex}`]);
    assert.deepEqual(decode(host.received[0].body).tensors.get("hessian_upper"), HESSIAN);
  });

  it("sends the validation statistics in the same body", async () => {
    const host = new FakeHost(noContent), validation = f32([3], [2, 0, 3]);
    const name = await pare(host).putHessian(HESSIAN, { validationHessianUpper: validation });
    assert.notEqual(name, await pare(host).putHessian(HESSIAN));
    const { tensors } = decode(host.received[0].body);
    assert.deepEqual([...tensors], [["hessian_upper", HESSIAN], ["validation_hessian_upper", validation]]);
  });
});

describe("Pare.deleteHessian", () => {
  it("succeeds if the statistics do not exist, and throws any other error", async () => {
    await pare(new FakeHost(problem(404, "hessian_not_found"))).deleteHessian("sha256:0");
    await assert.rejects(pare(new FakeHost(problem(403, "forbidden"))).deleteHessian("sha256:0"), {
      code: "forbidden",
    });
  });
});

describe("Pare.pruneModel", () => {
  it("yields an event at the start, for each replaced layer, and at the end", async () => {
    const model = new FakeModel([["q", "k"], ["fc"]]);
    const events = await pruneModel(new FakeHost(working), model);
    assert.deepEqual(
      events.map((event) => event.type === "layer" ? [event.name, event.block, event.done] : event.type),
      ["start", ["q", 0, 1], ["k", 0, 2], ["fc", 1, 3], "done"],
    );
    assert.deepEqual(model.replaced, ["q", "k", "fc"]);
  });

  it("sends statistics that layers share once, and deletes them after the last of these layers", async () => {
    const host = new FakeHost(working);
    await pruneModel(host, [["q", "k", "v"], ["out"]], { sparsity: 0.5 });
    assert.equal(methodsOf(host), "PUT POST POST POST DELETE POST");
    const [put, q, k, v, deleted, out] = host.received;
    const digest = put.path.split("/").at(-1)!;
    for (const solve of [q, k, v]) {
      assert.deepEqual(tensorNames(solve), ["weight"]);
      assert.equal(new URL(solve.path, "http://fake").searchParams.get("hessian"), digest);
    }
    assert.equal(deleted.path, put.path);
    assert.deepEqual(tensorNames(out), ["weight", "hessian_upper"]);
    assert.equal(out.path, "/v1/layers?sparsity=0.5");
  });

  it("sends each layer with the parameters for its name", async () => {
    const host = new FakeHost(working);
    const queryOf = (name: string) => ({ sparsity: name === "k" ? 0.25 : 0.5 });
    await pruneModel(host, [["q", "k"], ["out"]], queryOf);
    const sparsities = host.received.filter(({ method }) => method === "POST")
      .map(({ path }) => new URL(path, "http://fake").searchParams.get("sparsity"));
    assert.deepEqual(sparsities, ["0.5", "0.25", "0.5"]);
  });

  it("sends statistics again if the host has evicted them, and continues", async () => {
    const host = new FakeHost(noContent, solved, problem(404, "hessian_not_found"), working);
    await pruneModel(host, [["q", "k", "v"]]);
    assert.equal(methodsOf(host), "PUT POST POST PUT POST POST DELETE");
  });

  it("sends the statistics with each layer if they are too large to be stored", async () => {
    const host = new FakeHost(problem(413, "too_large"), solved);
    await pruneModel(host, [["q", "k"]]);
    assert.equal(methodsOf(host), "PUT POST POST");
    for (const solve of host.received.slice(1)) {
      assert.deepEqual(tensorNames(solve), ["weight", "hessian_upper"]);
    }
  });

  it("throws if the host evicts the statistics a second time", async () => {
    const host = new FakeHost(({ method }) =>
      method === "POST" ? problem(404, "hessian_not_found")() : new Response(null)
    );
    await assert.rejects(pruneModel(host, [["q", "k"]]), {
      code: "hessian_not_found",
    });
    assert.equal(methodsOf(host), "PUT POST PUT POST");
  });

  it("throws the host's refusal, ends the model's generator, and leaves earlier replacements in place", async () => {
    const model = new FakeModel([["a"], ["b"], ["c"]]);
    const host = new FakeHost(solved, problem(422, "non_finite"));
    await assert.rejects(pruneModel(host, model), { code: "non_finite" });
    assert.deepEqual(model.replaced, ["a"]);
    assert.ok(model.isEnded);
  });

  it("ends the model's generator when the caller leaves the loop early", async () => {
    const model = new FakeModel([["a"], ["b"]]);
    for await (const event of pare(new FakeHost(working)).pruneModel(model)) {
      if (event.type === "layer") break;
    }
    assert.deepEqual(model.replaced, ["a"]);
    assert.ok(model.isEnded);
  });
});

describe("Pare.pruneModel without statistics", () => {
  it("sends only the weight of each layer", async () => {
    const model = new FakeModel([["q", "k"], ["fc"]]), host = new FakeHost(working);
    const group = model.group.bind(model);
    model.group = async (...args) => ({ ...await group(...args), hessian: undefined });
    await pruneModel(host, model, { method: "magnitude" });
    assert.deepEqual(host.log, Array(3).fill("POST /v1/layers?method=magnitude"));
    assert.deepEqual(host.received.map(tensorNames), Array(3).fill(["weight"]));
    assert.deepEqual(model.replaced, ["q", "k", "fc"]);
  });
});

describe("Pare.pruneModel with an abort signal", () => {
  const reason = new Error("enough");

  /** Aborts a run after 20 ms and asserts that it throws the signal's reason within a second. */
  async function assertAborts(host: FakeHost, model: ModelSource): Promise<void> {
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 20);
    const started = performance.now();
    const run = pruneModel(host, model, {}, { signal: controller.signal });
    await assert.rejects(run, (error) => error === reason);
    assert.ok(performance.now() - started < 1000);
  }

  it("stops while the host solves a layer", async () => {
    const model = new FakeModel([["a"]]);
    await assertAborts(new FakeHost(() => new Promise(() => {})), model);
    assert.deepEqual(model.replaced, []);
  });

  it("stops while the model computes a group", async () => {
    const model = new FakeModel([["a"]]);
    model.group = () => new Promise(() => {});
    await assertAborts(new FakeHost(working), model);
  });

  it("requests no group if the signal is aborted before the call", async () => {
    const model = new FakeModel([["a"]]);
    let isRequested = false;
    model.group = () => {
      isRequested = true;
      return assert.fail("a group was requested");
    };
    const run = pruneModel(new FakeHost(working), model, {}, { signal: AbortSignal.abort(reason) });
    await assert.rejects(run, (error) => error === reason);
    assert.ok(!isRequested);
  });
});
