/** Runs first light with small sizes to its end, on whatever adapter there is. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { firstLight, SOFTWARE_SIZES } from "../../scripts/first_light/first_light.ts";
import { renderPage } from "../../scripts/first_light/page.ts";
import type { FirstLight } from "../../scripts/first_light/results.ts";
import { webgpuSkipReason } from "../support/backends.ts";
import { dawnSkipReason } from "../support/dawn.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

/** The shaders of gemm_nt that were timed with Dawn. */
function ratesOf(dawn: NonNullable<FirstLight["dawn"]>): string[] | undefined {
  if ("reason" in dawn) return undefined;
  return dawn.kernels.filter(({ kernel }) => kernel === "gemm_nt").map(({ variant }) => variant);
}

describe("first light", () => {
  it(`runs every step to its end${webgpuSkipReason ? ` (skipped: ${webgpuSkipReason})` : ""}`, {
    skip: webgpuSkipReason,
  }, () =>
    withTemporaryFolder(async (folder) => {
      const result = await firstLight(folder, SOFTWARE_SIZES);
      assert.deepEqual(result.failures, {});
      assert.deepEqual(result.checks!.filter(({ passed }) => !passed), []);
      assert.ok(result.probe!.limits.maxComputeInvocationsPerWorkgroup >= 256);
      assert.ok(result.probe!.listed.every((feature) => result.probe!.granted.includes(feature)));
      const { transfers, layer, request, limits, kernels } = result;
      for (const rate of Object.values(transfers!)) assert.ok(rate >= 0 && rate < Infinity);
      assert.ok(layer!.kernelSeconds.prune_block > 0 && layer!.dispatches > 0);
      assert.ok(request!.relativeError! > 0 && request!.relativeError! < 1);
      const products = kernels!.filter(({ kernel }) => kernel === "gemm_nt").map(({ variant }) => variant);
      assert.deepEqual(products, ["discrete", "software", "64x64", "64x128", "128x64"]);
      assert.deepEqual(ratesOf(result.dawn!), dawnSkipReason ? undefined : products);
      assert.ok("gflops" in result.torch! || result.torch!.reason.length > 0);
      const seconds = limits!.map((limit) => limit.seconds);
      assert.deepEqual(seconds, seconds.toSorted((a, b) => b - a));

      assert.deepEqual(
        JSON.parse(await Deno.readTextFile(`${folder}/first_light.json`)),
        JSON.parse(JSON.stringify(result)),
      );
      const page = await Deno.readTextFile(`${folder}/index.html`);
      for (
        const title of [
          ...["What limits a layer", "Checks", "Kernels", "Dawn"],
          ...["PyTorch", "Transfers", "over HTTP", "Adapter"],
        ]
      ) {
        assert.ok(page.includes(title), title);
      }
      assert.equal(renderPage({ ...result, failures: { layer: "<lost>" } }).includes("<lost>"), false);
    }));
});
