/** Tests that `deno task demo` prunes a model in four ways, and that SparseGPT has a lower perplexity than magnitude. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

const path = (name: string) => fileURLToPath(new URL(`../../scripts/${name}`, import.meta.url));

it("the demo ends with the perplexities of all results", () =>
  withTemporaryFolder(async (cwd) => {
    const args = [
      "run",
      "-A",
      path("run_with_v8_flags.ts"),
      "run",
      "-A",
      path("demo.ts"),
      "--backend",
      "cpu",
    ];
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const [, figures] = /perplexity(.*)/.exec(new TextDecoder().decode(stdout)) ?? [];
    const [dense, magnitude, sparsegpt, magnitude24, sparsegpt24] = figures.match(/[\d.]+/g)!.map(Number);
    assert.ok(dense < sparsegpt && sparsegpt < magnitude, figures);
    assert.ok(magnitude < magnitude24 && sparsegpt24 < magnitude24, figures);
  }));
