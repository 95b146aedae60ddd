/**
 * Tests the transfers of tasks: a host reads tensors from the signed URLs of a blob store and writes the result to one. The URLs may be wrong,
 * the bytes may differ, and connections may break.
 */

import assert from "node:assert/strict";
import { after, beforeEach, describe, it } from "@std/testing/bdd";
import { startHost } from "./host.ts";
import { codeOf, HESSIAN, HOST_ID, SECRET, startTaskHosts, WEIGHT } from "./task_hosts.ts";

const hosts = await startTaskHosts();
after(() => hosts.close());

describe("the transfers of tasks", () => {
  beforeEach(() => hosts.resetStore());

  /** Sends a new task with the members in `changes`. Returns the status and the code of the answer. */
  const refusalOf = async (changes: Record<string, unknown>) =>
    await codeOf(await hosts.send(await hosts.taskOf(changes)));

  it("fetch from and write to the configured origins only, and do not follow redirects", async () => {
    const elsewhere = { url: "http://169.254.169.254/latest", sha256: "sha256:" + "1".repeat(64) };
    assert.deepEqual(await refusalOf({ weight: elsewhere }), [403, "forbidden"]);
    assert.deepEqual(await refusalOf({ result: { url: elsewhere.url } }), [403, "forbidden"]);
    assert.deepEqual(hosts.store.requests, []);
    assert.equal(hosts.host.device.session().residentQueue.running, 0);
    hosts.store.faults.push(() => Response.redirect("http://169.254.169.254/latest", 302));
    assert.deepEqual(await refusalOf({ hessian: undefined }), [502, "blob_unavailable"]);
  });

  it("fail if a tensor file does not match its digest or cannot be fetched", async () => {
    const wrong = "sha256:" + "1".repeat(64), { weight, hessian } = await hosts.taskOf();
    assert.deepEqual(await refusalOf({ weight: { ...weight, sha256: wrong } }), [409, "digest_mismatch"]);
    assert.deepEqual(await refusalOf({ hessian: { ...hessian, sha256: wrong } }), [409, "digest_mismatch"]);
    const missing = { url: `${hosts.store.origin}/missing`, sha256: wrong };
    assert.deepEqual(await refusalOf({ hessian: missing }), [502, "blob_unavailable"]);
  });

  it("cancel the downloads that they do not read to the end", async () => {
    const open = new Set<string>();
    /** Answers with a file that never ends until its reader cancels the download. */
    const endless = (name: string) => () => {
      open.add(name);
      const body = new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(64 * 2 ** 10)),
        cancel: () => void open.delete(name),
      });
      return new Response(body, { headers: { "Content-Length": String(2 ** 30) } });
    };
    hosts.store.faults.push(endless("statistics"));
    assert.deepEqual(await refusalOf({}), [400, "malformed_safetensors"]);
    // The store of this host is too small for the statistics. So the host fetches them again to send them with the weight, but by then
    // the blob is gone.
    const stored = () => new Response(HESSIAN), gone = () => new Response("NoSuchKey", { status: 404 });
    hosts.store.faults.push(stored, endless("weight"), gone);
    assert.deepEqual(await codeOf(await hosts.send(await hosts.taskOf(), { to: hosts.small })), [
      502,
      "blob_unavailable",
    ]);
    for (let tries = 0; open.size > 0 && tries < 1500; tries++) await new Promise((r) => setTimeout(r, 20));
    assert.deepEqual([...open], []);
  });

  it("fail when the connection to a blob breaks", async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const origin = `http://127.0.0.1:${listener.addr.port}`;
    const breaking = (async () => {
      const connection = await listener.accept();
      await connection.read(new Uint8Array(4096));
      const head = `HTTP/1.1 200 OK\r\nContent-Length: ${WEIGHT.length}\r\n\r\n`;
      await connection.write(new TextEncoder().encode(head));
      await connection.write(WEIGHT.subarray(0, WEIGHT.length / 2));
      connection.close();
    })();
    const other = await startHost({ edge: { secret: SECRET, hostId: HOST_ID, blobOrigins: [origin] } });
    try {
      const weight = { url: `${origin}/weight`, sha256: "sha256:" + "1".repeat(64) };
      const result = { url: `${origin}/result` };
      const task = await hosts.taskOf({
        weight,
        hessian: undefined,
        result,
        parameters: { method: "magnitude" },
      });
      assert.deepEqual(await codeOf(await hosts.send(task, { to: other })), [502, "blob_unavailable"]);
      await breaking;
      assert.equal(other.liveBytes(), 0);
    } finally {
      listener.close();
      await other.close();
    }
  });

  it("fail when the blob store refuses the result, and leave nothing on the device", async () => {
    const task = await hosts.taskOf();
    await (await hosts.send(task)).body?.cancel();
    const live = hosts.host.liveBytes();
    hosts.store.faults.push(() => new Response(WEIGHT), async (request) => {
      await request.bytes();
      return new Response("SlowDown", { status: 503 });
    });
    const response = await hosts.send(await hosts.taskOf());
    assert.deepEqual([response.status, (await response.json()).detail], [
      502,
      `${hosts.store.origin}/result: 503 SlowDown`,
    ]);
    assert.equal(hosts.host.liveBytes(), live);
  });

  it("give their place on the device back at once, whatever is wrong with the result", async () => {
    const { port } = Deno.listen({ hostname: "127.0.0.1", port: 0 }).addr;
    const origins = [hosts.store.origin, `http://127.0.0.1:${port}`, "http://127.0.0.1:1"];
    const host = await startHost({ edge: { secret: SECRET, hostId: HOST_ID, blobOrigins: origins } });
    const { residentQueue } = host.device.session();
    hosts.store.faults.push(() => new Response(WEIGHT), () => new Response(HESSIAN));
    const urls = [
      "http://127.0.0.1:1/result",
      "http://elsewhere.example/result",
      "http://[/",
      "ftp://127.0.0.1/x",
    ];
    for (const url of urls) {
      const response = await hosts.send(await hosts.taskOf({ result: { url } }), { to: host });
      assert.ok(response.status >= 400, url);
      await response.body?.cancel();
      assert.deepEqual([residentQueue.running, residentQueue.waiting], [0, 0], url);
    }
    await host.close();
  });
});
