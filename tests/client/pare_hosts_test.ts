/** Tests the client of several fake hosts: how layers are spread over hosts, and where the layers of a lost host go. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { LayerGroup, ModelSource, PruneEvent } from "../../src/client/model_pruner.ts";
import { PareHosts } from "../../src/client/pare_hosts.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { type Answer, f32, FakeHost, noContent, problem, READY, solved } from "./fake_host.ts";

const WEIGHT = f32([2, 3], [0, 0, 0, 4, 5, 6]), HESSIAN = f32([6], [1, 0, 0, 1, 0, 1]);

/** Answers like a host that stores statistics and solves layers. */
const working: Answer = (received) => received.method === "POST" ? solved(received) : noContent(received);
/** Fails like a host that cannot be reached. */
const gone: Answer = () => Promise.reject(new TypeError("connection refused"));
/** Answers like `answer`, but after a pause. */
const slowly = (answer: Answer): Answer => async (received) => {
  await new Promise((resolve) => setTimeout(resolve, 10));
  return await answer(received);
};

/**
 * A model with several rounds. A round is a list of groups, and a group is a list of layer names. The layers
 * of a group share one Hessian. The model asserts that every layer is replaced once and before the next round
 * is requested. `maxOpenGroups` is the largest number of groups that were requested and not wholly replaced
 * at one time.
 */
class RoundModel implements ModelSource {
  readonly replaced = new Set<string>();
  maxOpenGroups = 0;
  readonly layerCount: number;

  constructor(readonly rounds: readonly (readonly (readonly string[])[])[]) {
    this.layerCount = rounds.flat(2).length;
  }

  async *groups(): AsyncGenerator<LayerGroup, void, undefined> {
    for (const [block, groups] of this.rounds.entries()) {
      for (const [index, names] of groups.entries()) {
        const yielded = groups.slice(0, index + 1);
        const openCount = yielded.filter((group) => group.some((name) => !this.replaced.has(name))).length;
        this.maxOpenGroups = Math.max(this.maxOpenGroups, openCount);
        const layers = names.map((name) => ({ name, weight: WEIGHT }));
        yield {
          block,
          hessian: HESSIAN,
          layers,
          hasMoreInRound: index < groups.length - 1,
          replace: this.replace,
        };
      }
      const missing = groups.flat().filter((name) => !this.replaced.has(name));
      assert.deepEqual(missing, [], "the next round was requested");
      await Promise.resolve();
    }
  }

  readonly replace = (name: string, weight: HostTensor): Promise<void> => {
    assert.deepEqual(weight.data, WEIGHT.data);
    assert.ok(!this.replaced.has(name), `${name} was replaced twice`);
    this.replaced.add(name);
    return Promise.resolve();
  };
}

function client(hosts: readonly FakeHost[], onHostLost?: (url: string, error: Error) => void): PareHosts {
  const transports = hosts.map(({ fetch }, index) => (
    { baseUrl: `http://host-${index}`, fetch, backoffMs: 1, retries: 1 }
  ));
  return new PareHosts(transports, { onHostLost });
}

async function layers(events: AsyncIterable<PruneEvent>): Promise<string[]> {
  const names: string[] = [];
  for await (const event of events) if (event.type === "layer") names.push(event.name);
  return names;
}

const BLOCK = [["q", "k", "v"], ["out"], ["fc1"], ["fc2"]];
const block = (index: number) => BLOCK.map((group) => group.map((name) => `${index}.${name}`));
const posts = (host: FakeHost) => host.received.filter(({ method }) => method === "POST").length;

describe("PareHosts.pruneModel", () => {
  it("solves one layer at each host at the same time, and replaces every layer before the next round", async () => {
    const model = new RoundModel([block(0), block(1)]);
    let activeCount = 0, maxActive = 0;
    const hosts = [0, 1, 2].map(() => {
      let layersHere = 0;
      return new FakeHost(async (received) => {
        assert.equal(++layersHere, 1, "one layer per host");
        maxActive = Math.max(maxActive, ++activeCount);
        const answer = await slowly(working)(received);
        layersHere--, activeCount--;
        return answer;
      });
    });
    const names = await layers(client(hosts).pruneModel(model));
    assert.deepEqual(names.toSorted(), [...block(0).flat(), ...block(1).flat()].toSorted());
    assert.equal(maxActive, 3);
    assert.ok(hosts.every((host) => posts(host) >= 2), hosts.map(posts).join());
  });

  it("requests only as many groups of layers as keep the hosts busy, and one whose layers are stored meanwhile", async () => {
    const one = new RoundModel([block(0)]), many = new RoundModel([block(0)]);
    await layers(client([new FakeHost(working)]).pruneModel(one));
    await layers(client([1, 2, 3, 4, 5, 6].map(() => new FakeHost(slowly(working)))).pruneModel(many));
    assert.deepEqual([one.maxOpenGroups, many.maxOpenGroups], [2, 4]);
  });

  it("gives a host its next layer before the caller stores the last one", async () => {
    const host = new FakeHost(working), model = new RoundModel([[["a"], ["b"]]]);
    const stored: number[] = [];
    const replace = async (name: string, weight: HostTensor) => {
      await new Promise((resolve) => setTimeout(resolve, 0)); // storing takes a while
      stored.push(posts(host));
      await model.replace(name, weight);
    };
    const source = {
      layerCount: 2,
      async *groups() {
        for await (const group of model.groups()) yield { ...group, replace };
      },
    };
    assert.deepEqual(await layers(client([host]).pruneModel(source)), ["a", "b"]);
    assert.deepEqual(stored, [2, 2]);
  });

  it("sends shared statistics once to each host that solves a layer of the group, and deletes them at all of these hosts", async () => {
    const hosts = [new FakeHost(slowly(working)), new FakeHost(slowly(working))];
    await layers(client(hosts).pruneModel(new RoundModel([[["q", "k", "v"]]])));
    const methods = hosts.map(({ received }) => received.map(({ method }) => method).join(" "));
    assert.deepEqual(methods.toSorted(), ["PUT POST DELETE", "PUT POST POST DELETE"]);
  });

  it("sends the layers of a lost host to the other hosts and reports the loss", async () => {
    const model = new RoundModel([block(0), block(1)]), lost: string[] = [];
    const hosts = [new FakeHost(slowly(working)), new FakeHost(noContent, solved, gone)];
    const names = await layers(client(hosts, (url) => lost.push(url)).pruneModel(model));
    assert.equal(names.length, 12);
    assert.deepEqual(lost, ["http://host-1"]);
  });

  it("uses a lost host again if it is reachable at the start of the next round", async () => {
    const model = new RoundModel([[["a"], ["b"]], [["c"], ["d"]]]);
    const back: Answer = (received) =>
      received.path === "/readyz" ? Response.json(READY) : slowly(working)(received);
    const hosts = [new FakeHost(slowly(working)), new FakeHost(gone, gone, back)];
    await layers(client(hosts).pruneModel(model));
    assert.deepEqual(hosts[1].log.slice(0, 4), [
      "POST /v1/layers",
      "POST /v1/layers",
      "GET /readyz",
      "POST /v1/layers",
    ]);
  });

  it("throws the error of the last host if all hosts are lost", async () => {
    const model = new RoundModel([block(0), block(1)]);
    const hosts = [new FakeHost(noContent, solved, gone), new FakeHost(problem(503, "device_lost"))];
    await assert.rejects(layers(client(hosts).pruneModel(model)), /device_lost|connection refused/);
  });

  it("throws a refusal at once and names the layer, because another host would refuse the layer too", async () => {
    const hosts = [new FakeHost(problem(422, "non_finite")), new FakeHost(slowly(working))];
    const model = new RoundModel([block(0)]);
    await assert.rejects(layers(client(hosts).pruneModel(model)), {
      code: "non_finite",
      message: /^\S+: non_finite \(422\): /,
    });
  });

  it("throws the signal's reason when the signal is aborted while all hosts have requests", async () => {
    const controller = new AbortController(), reason = new Error("enough");
    const hosts = [1, 2].map(() => new FakeHost(() => new Promise<Response>(() => {})));
    setTimeout(() => controller.abort(reason), 10);
    const run = client(hosts).pruneModel(new RoundModel([block(0)]), {}, { signal: controller.signal });
    await assert.rejects(layers(run), (error) => error === reason);
  });

  it("throws if there is no host", () => {
    assert.throws(() => new PareHosts([]), { name: "RangeError", message: /at least one/ });
  });
});

describe("PareHosts.describeHosts", () => {
  it("returns the backend and the adapter of each host", async () => {
    const hosts = client([1, 2].map(() => new FakeHost(() => Response.json(READY))));
    const description = { backend: "cpu", adapter: "fake" };
    assert.deepEqual(await hosts.describeHosts(), [description, description]);
  });

  it("throws if an answer has no backend and adapter", async () => {
    const hosts = client([new FakeHost(() => Response.json({ status: "ready" }))]);
    await assert.rejects(hosts.describeHosts(), /answer of \/readyz/);
  });
});
