/**
 * Clicks through the page `/jobs` of an edge (Pare's Cloudflare Worker in front of GPU hosts) in a browser. The edge runs in the real Workers
 * runtime, and its two hosts are processes of their own.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import type { Browser, Page } from "playwright-core";
import { type JobLayerRequest, Jobs, Uploads } from "../../src/client/mod.ts";
import { BlockJobs } from "../../src/prune/blocks/block_jobs.ts";
import { RemoteBlocks } from "../../src/prune/blocks/remote_blocks.ts";
import { pruneInMemory } from "../../src/prune/run/in_memory.ts";
import { sha256 } from "../../src/protocol/digest.ts";
import { busyHost, until } from "../edge/edge_hosts.ts";
import { type JobEdge, layerBody, startJobEdge } from "../edge/job_edge.ts";
import { startEdge } from "../edge/local_edge.ts";
import {
  browserSkipReason,
  LAYOUTS,
  type OpenedPage,
  openPage,
  overflow,
  startBrowser,
  waitFor,
} from "../support/browser.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";

/** A name that would run a script if the page inserted it as HTML. */
const HOSTILE = '<img src=x onerror="document.title=1">';

/** The longest time until the edge counts a killed host as lost, in milliseconds. */
const LOSS_MILLISECONDS = 45_000;

/** Returns the texts of the cells of each row of a table, without the rows that head a block of layers. */
function cells(page: Page, table: string): Promise<string[][]> {
  return page.evaluate(
    `[...document.querySelectorAll("#${table} tbody tr:not(.block)")].map((row) => [...row.cells].map((cell) => cell.textContent))`,
  );
}

/** Waits until the job that the page shows has ended in `state`. */
async function waitForEnd(page: Page, state: string): Promise<void> {
  const condition = `document.querySelector("#job-state").textContent === "${state}" &&
    document.querySelector("#job-link").textContent === "ended"`;
  await waitFor(page, condition, 60_000);
}

describe("/jobs in a browser", { skip: browserSkipReason() ?? false }, () => {
  let edge: JobEdge, browser: Browser, opened: OpenedPage, page: Page;
  before(async () => {
    edge = await startJobEdge(2);
    browser = await startBrowser();
    opened = await openPage(browser, `${edge.url}/jobs`);
    page = opened.page;
  });
  after(async () => {
    await browser?.close();
    await edge?.close();
  });

  /**
   * Stops the processes of the hosts while `work` runs, so that no layer is solved meanwhile. The edge waits longer for a host than
   * `work` takes.
   */
  async function whileHostsPause(work: () => Promise<void>): Promise<void> {
    const pids = edge.hosts.map(({ pid }) => pid);
    for (const pid of pids) Deno.kill(pid, "SIGSTOP");
    try {
      await work();
    } finally {
      for (const pid of pids) Deno.kill(pid, "SIGCONT");
    }
  }

  /** Submits a job with `count` layers that take a while, three of each block of a model, and with the layers `others`. */
  let seed = 1;
  async function submit(name: string, count: number, others: JobLayerRequest[] = []): Promise<string> {
    const slow = await Promise.all(
      Array.from({ length: count }, async (_, index): Promise<JobLayerRequest> => ({
        name: `model.layers.${Math.floor(index / 3)}.layer_${index}`,
        weight: await edge.store(layerBody(600, 600, seed += 2)),
        parameters: { method: "alps", pattern: "2:4" },
      })),
    );
    return (await edge.jobs.submit([...slow, ...others], { name })).id;
  }

  it("lists the hosts with their devices, load and heartbeats, and says how to start a job", async () => {
    await waitFor(page, "document.querySelectorAll('#hosts tbody tr').length === 2");
    for (const [device, id, load, seen] of await cells(page, "hosts")) {
      assert.match(device, /^WebAssembly SIMD, \d+ threads? \(cpu\)$/);
      assert.match(id, /^[\w-]{8}$/);
      assert.equal(load, "0 of 3 layers, 0 waiting");
      assert.match(seen, /^(now|\d+ s ago|\d+ ms ago)$/);
    }
    await page.waitForSelector("#jobs-empty");
    assert.ok((await page.textContent("#jobs-empty pre"))!.includes(`--server ${edge.url}`));
    await page.selectOption("#state", "failed");
    await page.waitForSelector("#jobs-none");
    assert.equal(await page.isVisible("#jobs-empty"), false);
    await page.selectOption("#state", "");
  });

  it("follows a job live while one of its hosts is lost, and submits the failed layer again", async () => {
    const broken = await edge.store(new TextEncoder().encode("not a safetensors file"));
    let id = "";
    await whileHostsPause(async () => {
      id = await submit(HOSTILE, 6, [{ name: HOSTILE, weight: broken }]);
      await page.click(`#jobs a[href="#${id}"]`);
      await waitFor(page, "document.querySelector('#job-link').textContent === 'live'");
    });
    assert.equal(await page.textContent("#job-title"), `Job ${HOSTILE}`);
    const victim = await busyHost(edge.hosts);
    Deno.kill(victim.pid, "SIGKILL");
    edge.hosts.splice(edge.hosts.indexOf(victim), 1);
    await waitForEnd(page, "failed");

    const rows = await cells(page, "layers"), last = rows.pop()!;
    assert.equal(rows.length, 6);
    for (const [name, state, zeros, error, damping, seconds, host] of rows) {
      assert.match(name, /^layer_\d$/);
      assert.match(state, /^done(attempt \d)?$/);
      assert.deepEqual([zeros, damping], ["50 %", "0.01"]);
      assert.match(error, /^0\.\d+$/);
      assert.match(seconds, /^[\d.]+ m?s$/);
      assert.match(host, /^[\w-]{8}$/);
    }
    assert.ok(rows.some(([, state]) => state === "doneattempt 2"), rows.join("; "));
    assert.equal(last[0], HOSTILE);
    assert.match(last[1], /^failedmalformed_safetensors: /);
    assert.equal(await page.locator("main img").count(), 0);
    const heads = page.locator("#layers .block");
    assert.deepEqual(await heads.allTextContents(), [
      "model.layers.0 3 of 3 layers",
      "model.layers.1 3 of 3 layers",
    ]);
    await heads.first().getByRole("button", { expanded: true }).press("Enter");
    assert.equal(await page.locator("#layers tbody tr:not(.block):visible").count(), 4);
    await heads.first().getByRole("button", { expanded: false }).press("Enter");
    assert.equal(await page.locator("#layers tbody tr:not(.block):visible").count(), 7);
    await page.waitForSelector("#hosts .lost", { timeout: LOSS_MILLISECONDS });

    await page.click("#again:has-text('Submit 1 failed layer again')");
    await waitFor(page, `location.hash.length > 1 && location.hash !== "#${id}"`);
    await waitForEnd(page, "failed");
    assert.deepEqual((await cells(page, "layers")).map(([name]) => name), [HOSTILE]);
    assert.equal(await page.textContent("#job-title"), `Job ${HOSTILE}, again`);
  });

  it("cancels a job, and submits its unfinished layers again with their parameters", async () => {
    let id = "";
    await whileHostsPause(async () => {
      id = await submit("second", 6);
      await page.click(`#jobs a[href="#${id}"]`);
      await page.click("#cancel");
      await waitForEnd(page, "cancelled");
    });
    const states = (await edge.jobs.get(id)).layers,
      unfinished = states.filter(({ state }) => state === "cancelled");
    assert.ok(unfinished.length > 0);
    await page.click("#again");
    await waitFor(page, `location.hash.length > 1 && location.hash !== "#${id}"`);
    await waitForEnd(page, "done");
    const again = await edge.jobs.get(new URL(page.url()).hash.slice(1));
    const asked = (layers: typeof states) =>
      layers.map(({ name, weight, parameters }) => ({ name, weight, parameters }));
    assert.deepEqual(asked(again.layers), asked(unfinished));
  });

  it("lists only the jobs in a state, and cancels a job from the list", async () => {
    let id = "";
    await whileHostsPause(async () => {
      id = await submit("third", 6);
      await page.click("#jobs button[aria-label='Cancel third']");
    });
    await page.selectOption("#state", "cancelled");
    await waitFor(page, "document.querySelectorAll('#jobs tbody tr').length === 2");
    assert.deepEqual((await cells(page, "jobs")).map(([name, state]) => [name.slice(0, -8), state]), [
      ["third", "cancelled"],
      ["second", "cancelled"],
    ]);
    assert.equal((await edge.jobs.get(id)).state, "cancelled");
  });

  it("shows a job of a model block by block, and submits it again behind the blocks that are pruned", async () => {
    const { windows, variants: [{ model, config }] } = await readFamilyFixture("gpt2");
    const server = new BlockJobs({ baseUrl: edge.url }, { name: "a model", pollMs: 50 });
    let pruning: Promise<unknown> | undefined, id = "";
    await whileHostsPause(async () => {
      const pruner = new RemoteBlocks(server, { config, format: "dense" });
      pruning = pruneInMemory(model, { sparsity: 0.5 }, { windows, pruner });
      id = await until("the job is submitted", async () => {
        const { jobs } = await edge.jobs.list({ limit: 1 });
        return jobs[0]?.name === "a model" ? jobs[0].id : undefined;
      });
      await page.evaluate(`location.hash = '${id}'`);
      await waitFor(page, "document.querySelectorAll('#layers tbody tr').length === 2");
      assert.deepEqual((await cells(page, "layers")).map(([name]) => name), [
        "transformer.h.0",
        "transformer.h.1",
      ]);
      await waitFor(page, "/^0 of 2 blocks$/.test(document.querySelector('#job-count').textContent)");
    });
    await waitForEnd(page, "done");
    await pruning;
    const rows = await cells(page, "layers");
    assert.deepEqual(rows.map(([, state]) => state), ["done", "done"]);
    for (const row of rows) assert.match(row.at(-1)!, /^[\w-]{8}$/);
    assert.equal(await page.isVisible("#again"), false);

    const { model: states, layers: [first] } = await edge.jobs.get(id);
    const blocks = [{ name: "0", weight: first.weight }, { name: "1", weight: states!.states }];
    const failing = await edge.jobs.submit({ ...states!, blocks }, { name: "a broken model" });
    await page.evaluate(`location.hash = '${failing.id}'`);
    await waitForEnd(page, "failed");
    assert.match((await cells(page, "layers"))[1][1], /^failedshape_mismatch: /);
    await page.click("#again:has-text('Submit 1 failed block again')");
    await waitFor(page, `location.hash.length > 1 && location.hash !== "#${failing.id}"`);
    await waitForEnd(page, "failed");
    const again = await edge.jobs.get(new URL(page.url()).hash.slice(1));
    assert.deepEqual(again.layers.map(({ state, attempts }) => [state, attempts]), [["done", 0], [
      "failed",
      1,
    ]]);
  });

  it("shows the problem text of the API for a job that does not exist", async () => {
    await page.evaluate(`location.hash = '${"0".repeat(32)}'`);
    await page.waitForSelector("#job-problem .problem");
    assert.match((await page.textContent("#job-problem"))!, /^not_found: there is no job 0{32}/);
  });

  it("sends requests to the edge only, and breaks no rule of its policy", async () => {
    assert.deepEqual(opened.origins(), [edge.url]);
    assert.deepEqual(await opened.errors(), []);
  });

  it("has no accessibility violations and fits the window, in light and dark, on a desktop and on a phone", async () => {
    const { jobs: [{ id }] } = await edge.jobs.list({ state: "failed" });
    for (const path of [`/jobs#${id}`, "/"]) {
      for (const layout of LAYOUTS) {
        await using other = await openPage(browser, edge.url + path, layout);
        if (path !== "/") await other.page.waitForSelector("#layers tbody tr");
        await other.assertNoBarriers();
        assert.equal(await overflow(other.page), 0, `${path} ${layout.viewport.width}`);
      }
    }
  });
});

describe("/jobs of an edge with keys, in a browser", { skip: browserSkipReason() ?? false }, () => {
  it("sends the key of the field with every request, that for the event stream too", async () => {
    await using stack = new AsyncDisposableStack();
    const PARE_KEYS = (await sha256(new TextEncoder().encode("a-key"))).toHex();
    const edge = await startEdge({ PARE_KEYS, EDGE_OPEN: "" });
    stack.defer(edge.close);
    const options = { baseUrl: edge.url, apiKey: "a-key" };
    const weight = await new Uploads(options).uploadBlob(new Uint8Array(1));
    const { id } = await new Jobs(options).submit([{ name: "a", weight }]);
    const browser = await startBrowser();
    stack.defer(() => browser.close());
    const { page, [Symbol.asyncDispose]: close } = await openPage(browser, `${edge.url}/jobs`);
    stack.defer(close);
    const keyed = new Set<string>(), keyless = new Set<string>();
    await page.waitForSelector("#jobs-problem .problem");
    assert.match((await page.textContent("#jobs-problem"))!, /^unauthorized: /);
    await page.fill("#key", "a-key");
    await page.keyboard.press("Enter");
    page.on("request", (request) => {
      const hasKey = request.headers().authorization === "Bearer a-key",
        { pathname } = new URL(request.url());
      if (pathname.startsWith("/v1/")) (hasKey ? keyed : keyless).add(pathname);
    });
    await page.click(`#jobs a[href="#${id}"]`);
    await page.waitForSelector("#layers tbody tr");
    await until("both lists were refreshed", () => Promise.resolve(keyed.size === 3 || undefined));
    assert.deepEqual([[...keyed].toSorted(), [...keyless]], [
      ["/v1/hosts", "/v1/jobs", `/v1/jobs/${id}`],
      [],
    ]);
  });
});
