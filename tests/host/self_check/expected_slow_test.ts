import { ok } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { EXPECTED_FILE, renderExpected } from "./write_expected.ts";

it("the self-check expects the numbers that the float64 code computes", async () => {
  ok(renderExpected() === await Deno.readTextFile(EXPECTED_FILE), "run deno task generate");
});
