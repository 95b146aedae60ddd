/** Tests the parts of the demo: the host process that it starts, the clock that divides its time into phases, and its tables. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { startHost } from "../../scripts/processes/child_host.ts";
import { PhaseClock } from "../../scripts/demo/phase_clock.ts";
import { type DemoRun, errorTable, perplexityTable, secondsTable } from "../../scripts/demo/tables.ts";
import { report } from "../client/fake_host.ts";

describe("startHost", () => {
  it("throws with the reason if the host does not start", async () => {
    await assert.rejects(startHost(["--backend", "tpu"]), /did not start: error: .*'tpu'/);
  });

  it("can be disposed of twice", async () => {
    const host = await startHost(["--backend", "cpu"]);
    await host[Symbol.asyncDispose]();
    await host[Symbol.asyncDispose]();
    await assert.rejects(fetch(host.url), TypeError);
  });
});

describe("PhaseClock", () => {
  it("adds up the time of a phase, including failed attempts", async () => {
    const clock = new PhaseClock();
    const wait = () => new Promise<void>((resolve) => setTimeout(resolve, 15));
    await clock.time("write", wait);
    await assert.rejects(
      clock.time("write", () => wait().then(() => Promise.reject(new Error("disk")))),
      /disk/,
    );
    assert.ok(clock.seconds.write >= 0.028, String(clock.seconds.write));
  });

  it("subtracts the host's phases from the time for sending", () => {
    const clock = new PhaseClock();
    clock.seconds.send = 1;
    const seconds = { read: 0.125, factor: 0.25, solve: 0.5, refit: 0, total: 0.875 };
    clock.charge({ ...report(2, 2), seconds });
    assert.deepEqual(
      [clock.seconds.send, clock.seconds.read, clock.seconds.factor, clock.seconds.solve],
      [0.125, 0.125, 0.25, 0.5],
    );
  });
});

describe("the demo's tables", () => {
  const name = "model.decoder.layers.0.fc1.weight";
  const seconds = new PhaseClock().seconds;
  const runs: DemoRun[] = [
    { title: "dense", perplexity: 46.713, layers: [], seconds: { ...seconds, evaluate: 4.5 } },
    {
      title: "SparseGPT",
      perplexity: 48.98,
      layers: [{ type: "layer", name, block: 0, done: 1, report: report(2, 2) }],
      seconds: { ...seconds, solve: 0.25 },
    },
  ];

  it("show the perplexity of each run", () => {
    assert.match(perplexityTable(runs), /dense │ SparseGPT[^]*perplexity │ 46\.71 │ +48\.98/);
  });

  it("show the error of each layer in each pruned run", () => {
    const table = errorTable(runs);
    assert.match(table, /layers\.0\.fc1 +│ +2\.50e-1/);
    assert.ok(!table.includes("dense"));
  });

  it("show the time of each phase, and an empty cell for a phase without time", () => {
    const table = secondsTable(runs);
    assert.match(table, /solve +│ +│ +0\.25/);
    assert.match(table, /evaluate +│ +4\.50 +│ +│/);
  });
});
