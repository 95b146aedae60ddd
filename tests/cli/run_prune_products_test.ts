/** Tests that a run whose products a library computes can be repeated and resumed, but not with another library. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { assertSame } from "../support/assert_same.ts";
import { type LocalHost, openLocalHost } from "../support/local_host.ts";
import { CHOSEN, openSmallModel } from "../support/small_run.ts";
import { runFingerprint } from "../../src/prune/run/fingerprint.ts";
import { pruneIntoFolder } from "../../src/prune/run/folder_destination.ts";
import { findProducts } from "../../src/device/cpu/products/find_products.ts";
import { PRECISIONS } from "../../src/device/cpu/products/product_library.ts";
import { describeRounding } from "../../src/device/backend.ts";
import { selectBackend } from "../../src/host/backends.ts";
import type { LogEntry } from "../../src/host/metrics.ts";

const libraries = findProducts({ products: "auto", precisions: PRECISIONS }).filter((found) =>
  found !== undefined
);
const library = libraries.find(({ precision }) => precision === "bfloat16") ?? libraries[0];
const skip = library ? false : "no library for products is installed in a usual place";
if (skip) console.log(`run_prune_products_test.ts is skipped: ${skip}`);

const { folder, job } = await openSmallModel({ hidden: 64, ffn: 128 });

describe("pruneIntoFolder() with a library for products", { skip }, () => {
  let withLibrary: LocalHost, without: LocalHost;
  before(async () => {
    withLibrary = await openLocalHost("cpu", { products: library!.path, precision: library!.precision });
    without = await openLocalHost("cpu", { products: "own" });
  });
  after(async () => {
    await withLibrary[Symbol.asyncDispose]();
    await without[Symbol.asyncDispose]();
  });

  /** Prunes the layers into `out`. With `isStopped`, the run fails before it calibrates the last one. */
  function prune({ backend, pruner }: LocalHost, out: string, isStopped = false): Promise<unknown> {
    const queryOf = (name: string) => {
      if (isStopped && name === CHOSEN.at(-1)) throw new Error("stopped");
      return { sparsity: 0.5 };
    };
    const fingerprint = runFingerprint({ "--sparsity": "0.5" }, backend);
    const changed = job(`${folder}/${out}`, { queryOf, fingerprint });
    return pruneIntoFolder(changed, { fs: denoFileSystem, backend, pruner });
  }

  const weights = (out: string) => Deno.readFile(`${folder}/${out}/model.safetensors`);

  it("gives the same bytes when it is repeated, and when it was stopped and resumed", async () => {
    await prune(withLibrary, "once");
    await prune(withLibrary, "twice");
    assertSame(await weights("twice"), await weights("once"));
    await assert.rejects(prune(withLibrary, "resumed", true), /stopped/);
    await prune(withLibrary, "resumed");
    assertSame(await weights("resumed"), await weights("once"));
  });

  it("refuses to continue a run that began with another library, and names both", async () => {
    await assert.rejects(prune(without, "changed", true), /stopped/);
    await assert.rejects(prune(withLibrary, "changed"), (error: Error) => {
      assert.match(error.message, /the forward's backend/);
      assert.ok(error.message.includes(`with ${library!.name}`), error.message);
      assert.ok(error.message.includes("cpu (WebAssembly SIMD)"), error.message);
      return true;
    });
  });

  it("continues with the products of the unfinished run, and refuses if they are missing", async () => {
    const recorded = describeRounding({ backend: "cpu", adapter: withLibrary.backend.adapter.name });
    const reasons: unknown[] = [];
    const log = ({ event, reason }: LogEntry) => reasons.push(event, reason);
    const backend = await selectBackend("cpu", { products: "auto", recorded, log });
    assert.equal(backend.adapter.name, withLibrary.backend.adapter.name);
    await backend.dispose();
    assert.deepEqual(reasons, ["products", "the run began with them"]);
    const other = recorded.replace(library!.name, "oneDNN 1.0.0");
    await assert.rejects(selectBackend("cpu", { products: "auto", recorded: other }), {
      message: `the run began with ${other}, which this machine does not have`,
    });
  });
});
