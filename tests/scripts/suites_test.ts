/** Tests that every file of tests belongs to a suite, and that every suite is run for each change or every night. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { filesOf, listTests, type SuiteName, suiteOf, SUITES } from "../../scripts/test/suites.ts";

const ROOT = new URL("../../", import.meta.url), NAMES = Object.keys(SUITES) as SuiteName[];

describe("the suites of tests", () => {
  it("have files, and each file of tests is in one of them", () => {
    const paths = listTests(ROOT), found = new Set(NAMES.flatMap((name) => filesOf(name, paths)));
    assert.ok(paths.length > 300);
    assert.deepEqual(paths.filter((path) => !found.has(path)), []);
    for (const name of NAMES) assert.ok(filesOf(name, paths).length > 0, name);
  });

  it("are run by CI, except for those of the nightly workflow", async () => {
    const ci = await Deno.readTextFile(new URL(".ci/run", ROOT));
    const nightly = await Deno.readTextFile(new URL(".github/workflows/nightly.yml", ROOT));
    const lists = [...ci.matchAll(/^suites=\((.*)\)/gm)].flatMap(([, names]) => names.split(" "));
    const named = [...`${ci}${nightly}`.matchAll(/ task test (\w+)/g)].map(([, name]) => name);
    const run = [...lists, ...named];
    assert.deepEqual(NAMES.filter((name) => !run.includes(name)), []);
  });

  it("follow from the folder or from the ending of the name", () => {
    assert.equal(suiteOf("tests/peers/generate_test.ts"), "peers");
    assert.equal(suiteOf("tests/edge/memory_nightly_test.ts"), "nightly");
    assert.equal(suiteOf("tests/cli/model_slow_test.ts"), "slow");
    assert.equal(suiteOf("tests/cli/exit_test.ts"), "fast");
  });
});
