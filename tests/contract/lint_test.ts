/** Lints the committed OpenAPI documents with Redocly's recommended rules. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { fileURLToPath } from "node:url";
import { REDOCLY, runPackage } from "./npm_tools.ts";

describe("the OpenAPI documents", () => {
  for (const name of ["openapi.json", "openapi.edge.json"]) {
    it(`${name} breaks none of Redocly's recommended rules, and gives no warning`, async () => {
      const path = fileURLToPath(new URL(`../../routes/${name}`, import.meta.url));
      const output = await runPackage(REDOCLY, ["lint", "--extends=recommended", path]);
      assert.match(output, /Your API description is valid/);
      assert.doesNotMatch(output, /warning|\[1\]/i, output);
    });
  }
});
