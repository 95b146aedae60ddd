/** Tests that `deno task demo` prints the perplexities that the README shows. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { readResults, resultsUrl } from "../../scripts/bench/report/results_file.ts";
import { type DemoResults, perplexityMarkdown } from "../../scripts/demo/tables.ts";
import { describeRounding } from "../../src/device/backend.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));

describe("the demo", () => {
  it("ends in the perplexities of its results file, on an adapter that rounds as the measured one did", () =>
    withTemporaryFolder(async (cwd) => {
      const args = [
        "run",
        "-A",
        path("scripts/run_with_v8_flags.ts"),
        "run",
        "-A",
        path("scripts/demo/main.ts"),
      ];
      const options = ["--backend", "cpu", "--results", `${cwd}/demo.json`];
      const command = new Deno.Command(Deno.execPath(), { args: [...args, ...options], cwd, stdout: "null" });
      const { success, stderr } = await command.output();
      assert.ok(success, new TextDecoder().decode(stderr));
      const measured = await readResults<DemoResults>(resultsUrl("demo", "json"));
      const now = await readResults<DemoResults>(`${cwd}/demo.json`);
      const [adapter, measuredAdapter] = [now, measured].map((results) => describeRounding(results));
      if (adapter !== measuredAdapter) {
        return console.log(
          `skipped: the figures were measured on ${measuredAdapter}, and this is ${adapter}`,
        );
      }
      assert.equal(perplexityMarkdown(now), perplexityMarkdown(measured));
    }));
});
