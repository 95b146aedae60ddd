/** Tests which axis of a weight `pare verify` takes for its inputs. The groups of an n:m pattern lie along this axis. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { chooseChecks } from "../../../src/cli/verify/choose_checks.ts";

const FAMILIES = fileURLToPath(new URL("../../fixtures/families/", import.meta.url));

/** Returns the axis of the inputs of each layer of a fixture model. */
async function inputAxes(family: string): Promise<number[]> {
  const checkpoint = await openCheckpoint(FAMILIES + family, denoFileSystem);
  try {
    const options = { pattern: { kind: "n:m", keep: 2, group: 4 } } as const;
    const checks = await chooseChecks(checkpoint, undefined, options);
    return [...checks.values()].map(({ scan }) => scan!.inputAxis);
  } finally {
    await checkpoint.close();
  }
}

describe("chooseChecks()", () => {
  it("takes the rows of GPT-2 for its inputs, even of a square weight, because GPT-2 stores weights transposed", async () => {
    assert.deepEqual(new Set(await inputAxes("gpt2")), new Set([0]));
  });

  it("takes the columns of other families for their inputs", async () => {
    for (const family of ["olmo2", "starcoder2"]) {
      const axes = await inputAxes(family);
      assert.ok(axes.length > 0);
      assert.deepEqual(new Set(axes), new Set([1]), family);
    }
  });
});
