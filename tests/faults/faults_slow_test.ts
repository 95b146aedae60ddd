/**
 * Causes some faults of every kind, in this process and in others. `deno task bench faults` runs these tests with more faults,
 * and RELIABILITY.md has its figures. The bench sets these variables:
 *
 * - `PARE_FAULT_FIGURES`: the file to which the figures of each kind are appended. Each kind then causes all its faults.
 * - `PARE_FAULTS`: the comma-separated kinds. By default all kinds run.
 * - `PARE_FAULT_SEED`: the seed of all random moments.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { Tally } from "./fault_kind.ts";
import { KINDS } from "./kinds.ts";

const FIGURES = Deno.env.get("PARE_FAULT_FIGURES"), CHOSEN = Deno.env.get("PARE_FAULTS") || undefined;
const SEED = Number(Deno.env.get("PARE_FAULT_SEED") ?? Math.floor(Math.random() * 2 ** 32));
const chosen = KINDS.filter(({ name }) => CHOSEN?.split(",").includes(name) ?? true);

/** Declares one test for each kind, in which no fault may be lost. */
function testFaults(processes: boolean): void {
  for (const { name, fault, survival, tries, run } of chosen.filter((kind) => kind.processes === processes)) {
    it(`(${fault}): ${survival}`, async () => {
      const tally = new Tally(), wanted = FIGURES ? tries.full : tries.test, started = performance.now();
      console.log(`the seed is ${SEED}`);
      await run(wanted, tally, SEED);
      const count = tally.count(), seconds = Math.round((performance.now() - started) / 1000);
      const line = JSON.stringify({ name, fault, survival, ...count, seconds });
      if (FIGURES) await Deno.writeTextFile(FIGURES, `${line}\n`, { append: true });
      assert.deepEqual(count.failures, []);
      assert.ok(count.tried >= tries.test, `tried ${count.tried}`);
    });
  }
}

describe("after a fault", () => testFaults(false));

/** Kills, stop signals, and the restart of an edge. */
describe(
  "after a fault of a process",
  { skip: Deno.build.os === "windows" && "Windows has no signals" },
  () => testFaults(true),
);
