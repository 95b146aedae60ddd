/** Tests how the bundler rewrites the URLs of modules and assets. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { rewriteImportMeta } from "../../../scripts/packages/command/source_urls.ts";

describe("rewriteImportMeta()", () => {
  it("lets workers and assets be found beside the bundle", () => {
    const rewrite = (url: string, path: string) =>
      rewriteImportMeta(`f(new URL(${url}, import.meta.url))`, path);
    assert.equal(
      rewrite('"./worker.ts"', "src/device/cpu/pool.ts"),
      'f(new URL("./cpu_worker.js", import.meta.url))',
    );
    assert.equal(
      rewrite("`../../../build/${name}`", "src/device/cpu/module.ts"),
      "f(new URL(`./${name}`, import.meta.url))",
    );
    assert.equal(
      rewrite('"../build/scalar.js.gz"', "routes/serve.ts"),
      'f(new URL("./scalar.js.gz", import.meta.url))',
    );
  });

  it("starts only the entry point of the command line as a program", () => {
    const source = "if (import.meta.main) start();";
    assert.equal(rewriteImportMeta(source, "src/cli/main.ts"), source);
    assert.equal(rewriteImportMeta(source, "routes/serve.ts"), "if (false) start();");
  });

  it("throws for a file that the package does not have, and for other uses of import.meta", () => {
    assert.throws(
      () => rewriteImportMeta('new URL("./data.json", import.meta.url)', "src/device/cpu/a.ts"),
      /^Error: src\/device\/cpu\/a\.ts: reads src\/device\/cpu\/data\.json, which the package does not have$/,
    );
    assert.throws(
      () => rewriteImportMeta("f(import.meta.dirname)", "src/device/cpu/a.ts"),
      /^Error: src\/device\/cpu\/a\.ts: the bundle has no rule for "f\(import\.meta\.dirname\)"$/,
    );
  });
});
