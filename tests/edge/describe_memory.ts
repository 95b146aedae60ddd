/**
 * Tests that the memory of the Worker's processes does not grow while a layer passes through. Bodies are
 * streamed in both directions.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { type EdgeWithHost, startEdgeWithHost } from "../../scripts/processes/edge_with_host.ts";
import { descendants, memoryBytes } from "../../scripts/processes/process_tree.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { streamLayer } from "./streamed_layer.ts";

/**
 * The growth of memory that is allowed, in bytes. It is a quarter of the smaller layer. A runtime that
 * buffered a body would grow several times as much.
 */
const ALLOWED_BYTES = 16 * 2 ** 20;

/** Declares the test with a layer of order × order F32 weights. `size` is their size in words. */
export function describeMemory(order: number, size: string): void {
  const folder = temporaryFolder();
  describe("the memory of the edge", {
    skip: Deno.build.os !== "linux" && "memory is read from /proc, which only Linux has",
  }, () => {
    const running = new AsyncDisposableStack();
    let pair: EdgeWithHost;
    before(async () => {
      pair = running.use(
        await startEdgeWithHost({ backend: "cpu", folder, vars: { EDGE_BODY_LIMIT: String(2 ** 31) } }),
      );
      // The runtime allocates memory for its first request, whatever its size. This allocation must not be counted.
      await streamLayer(pair.edge.url, 1024, 1024, "method=magnitude");
    });
    after(() => running.disposeAsync());

    /** Returns the two processes of the Workers runtime. One is wrangler's proxy, and the other runs the Worker. */
    const runtimes = () => descendants(pair.edge.pid).filter(({ name }) => name === "workerd");

    /**
     * Sends the layer through the edge and checks the growth of memory. The answer
     * must equal the answer that the host gives directly.
     */
    async function check() {
      const query = "method=magnitude&error=false", entries = order * order;
      const before = runtimes().map((process) => ({
        ...process,
        resident: memoryBytes(process.pid, "VmRSS"),
      }));
      assert.ok(before.length > 0, "no workerd runs");
      const viaEdge = await streamLayer(pair.edge.url, order, order, query);
      for (const { pid, resident } of before) {
        // The peak may date from before the layer, so this is an upper bound of the memory that the layer took.
        const grown = memoryBytes(pid, "VmHWM") - resident;
        assert.ok(grown <= ALLOWED_BYTES, `workerd ${pid} grew by ${grown} bytes from ${resident}`);
      }
      assert.equal(viaEdge.report.zeros, entries / 2);
      assert.ok(viaEdge.bytes > 4 * entries + entries / 8, "the answer has weights and a mask");
      assert.equal(viaEdge.digest, (await streamLayer(pair.host.url, order, order, query)).digest);
    }

    it(`does not grow while a layer of ${size} passes through`, () => check());
  });
}
