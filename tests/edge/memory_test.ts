/** The memory of the Worker's processes stays flat while a layer passes through: nothing gathers a body, in either direction. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { type EdgeWithHost, startEdgeWithHost } from "../../scripts/processes/edge_with_host.ts";
import { descendants, memoryBytes } from "../../scripts/processes/process_tree.ts";
import { streamLayer } from "./streamed_layer.ts";

/** A quarter of the smaller layer: a runtime that gathered either would take several times as much. */
const ALLOWED_BYTES = 16 * 2 ** 20;

const SLOW = Deno.env.get("PARE_SLOW") === "1";

describe("the memory of the edge", { skip: Deno.build.os !== "linux" && "only Linux tells it" }, () => {
  const running = new AsyncDisposableStack();
  let pair: EdgeWithHost;
  before(async () => {
    const folder = running.adopt(
      await Deno.makeTempDir({ prefix: "pare-test-" }),
      (path) => Deno.remove(path, { recursive: true }),
    );
    pair = running.use(
      await startEdgeWithHost({ backend: "cpu", folder, vars: { EDGE_BODY_LIMIT: String(2 ** 31) } }),
    );
    // What the runtime takes for a first request of any size is not the body's.
    await streamLayer(pair.edge.url, 1024, 1024, "method=magnitude");
  });
  after(() => running.disposeAsync());

  /** wrangler's own in front, and the one with the Worker. */
  const runtimes = () => descendants(pair.edge.pid).filter(({ name }) => name === "workerd");

  /** Sends a layer of order² F32 weights through the edge, then to the host: the answers are the same. */
  async function check(order: number) {
    const query = "method=magnitude&error=false", entries = order * order;
    const before = runtimes().map((process) => ({ ...process, resident: memoryBytes(process.pid, "VmRSS") }));
    assert.ok(before.length > 0, "no workerd runs");
    const through = await streamLayer(pair.edge.url, order, order, query);
    for (const { pid, resident } of before) {
      // The most that it ever had, while the layer passed or before: an upper bound of what the layer took.
      const grown = memoryBytes(pid, "VmHWM") - resident;
      assert.ok(grown <= ALLOWED_BYTES, `workerd ${pid} grew by ${grown} bytes from ${resident}`);
    }
    assert.equal(through.report.zeros, entries / 2);
    assert.ok(through.bytes > 4 * entries + entries / 8, "weights and mask came back");
    assert.equal(through.digest, (await streamLayer(pair.host.url, order, order, query)).digest);
  }

  it("is flat while 64 MiB pass", () => check(4096));
  it("is flat while 1 GiB passes", { skip: !SLOW && "set PARE_SLOW=1" }, () => check(16384));
});
