/** The SDK over several hosts of written answers: who has which layer, at once, and what becomes of those of a host that is lost. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { PruneEvent } from "../../src/client/events.ts";
import type { LayerGroup, ModelSource } from "../../src/client/model_source.ts";
import { PareHosts } from "../../src/client/pare_hosts.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { type Answer, f32, FakeHost, noContent, problem, solved } from "./fake_host.ts";

const WEIGHT = f32([2, 3], [1, 2, 3, 4, 5, 6]), HESSIAN = f32([6], [1, 0, 0, 1, 0, 1]);
const READY = { backend: "cpu", adapter: { name: "fake" } };

const working: Answer = (received) => received.method === "POST" ? solved(received) : noContent(received);
const gone: Answer = () => Promise.reject(new TypeError("connection refused"));
/** Answers as `answer` after a while. */
const slowly = (answer: Answer): Answer => async (received) => {
  await new Promise((resolve) => setTimeout(resolve, 10));
  return await answer(received);
};

/** Rounds of groups of layers; it insists on the contract, and counts the groups in hand. */
class RoundModel implements ModelSource {
  readonly replaced = new Set<string>();
  mostInHand = 0;
  readonly layerCount: number;

  constructor(readonly rounds: readonly (readonly (readonly string[])[])[]) {
    this.layerCount = rounds.flat(2).length;
  }

  async *groups(): AsyncGenerator<LayerGroup, void, undefined> {
    for (const [block, groups] of this.rounds.entries()) {
      for (const [index, names] of groups.entries()) {
        const handedOut = groups.slice(0, index + 1);
        const inHand = handedOut.filter((group) => group.some((name) => !this.replaced.has(name))).length;
        this.mostInHand = Math.max(this.mostInHand, inHand);
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
      assert.deepEqual(missing, [], "the next round was asked for");
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
  it("has every host at work, each on one layer, and every layer replaced in its round", async () => {
    const model = new RoundModel([block(0), block(1)]);
    let here = 0, most = 0;
    const hosts = [0, 1, 2].map(() => {
      let busy = 0;
      return new FakeHost(async (received) => {
        assert.equal(++busy, 1, "one layer a host");
        most = Math.max(most, ++here);
        const answer = await slowly(working)(received);
        busy--, here--;
        return answer;
      });
    });
    const names = await layers(client(hosts).pruneModel(model));
    assert.deepEqual(names.toSorted(), [...block(0).flat(), ...block(1).flat()].toSorted());
    assert.equal(most, 3);
    assert.ok(hosts.every((host) => posts(host) >= 2), hosts.map(posts).join());
  });

  it("asks for no more groups than it has hosts for", async () => {
    const one = new RoundModel([block(0)]), many = new RoundModel([block(0)]);
    await layers(client([new FakeHost(working)]).pruneModel(one));
    await layers(client([1, 2, 3, 4, 5, 6].map(() => new FakeHost(slowly(working)))).pruneModel(many));
    assert.deepEqual([one.mostInHand, many.mostInHand], [1, 4]);
  });

  it("sends shared statistics once to each host that has layers of them, and has all forget them", async () => {
    const hosts = [new FakeHost(slowly(working)), new FakeHost(slowly(working))];
    await layers(client(hosts).pruneModel(new RoundModel([[["q", "k", "v"]]])));
    const methods = hosts.map(({ received }) => received.map(({ method }) => method).join(" "));
    assert.deepEqual(methods.toSorted(), ["PUT POST DELETE", "PUT POST POST DELETE"]);
  });

  it("gives the layers of a host that is lost to the others, and tells of it", async () => {
    const model = new RoundModel([block(0), block(1)]), lost: string[] = [];
    const hosts = [new FakeHost(slowly(working)), new FakeHost(noContent, solved, gone)];
    const names = await layers(client(hosts, (url) => lost.push(url)).pruneModel(model));
    assert.equal(names.length, 12);
    assert.deepEqual(lost, ["http://host-1"]);
  });

  it("takes a host that is back before the next round", async () => {
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

  it("ends with the error of the last when all are lost", async () => {
    const model = new RoundModel([block(0), block(1)]);
    const hosts = [new FakeHost(noContent, solved, gone), new FakeHost(problem(503, "device_lost"))];
    await assert.rejects(layers(client(hosts).pruneModel(model)), /device_lost|connection refused/);
  });

  it("ends with a refusal, which no other host would answer otherwise", async () => {
    const hosts = [new FakeHost(problem(422, "non_finite")), new FakeHost(slowly(working))];
    const model = new RoundModel([block(0)]);
    await assert.rejects(layers(client(hosts).pruneModel(model)), { code: "non_finite" });
  });

  it("ends with the reason when it is aborted, every host's request too", async () => {
    const controller = new AbortController(), reason = new Error("enough");
    const hosts = [1, 2].map(() => new FakeHost(() => new Promise<Response>(() => {})));
    setTimeout(() => controller.abort(reason), 10);
    const run = client(hosts).pruneModel(new RoundModel([block(0)]), {}, { signal: controller.signal });
    await assert.rejects(layers(run), (error) => error === reason);
  });

  it("needs a host", () => {
    assert.throws(() => new PareHosts([]), { name: "RangeError", message: /at least one/ });
  });
});

describe("PareHosts.describeHosts", () => {
  it("tells what each solves on", async () => {
    const hosts = client([1, 2].map(() => new FakeHost(() => Response.json(READY))));
    const known = { backend: "cpu", adapter: "fake" };
    assert.deepEqual(await hosts.describeHosts(), [known, known]);
  });

  it("refuses an answer that tells nothing", async () => {
    const hosts = client([new FakeHost(() => Response.json({ status: "ready" }))]);
    await assert.rejects(hosts.describeHosts(), /answer of \/readyz/);
  });
});
