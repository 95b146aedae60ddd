/** Tests that a run whose products a library computes can be repeated and resumed, but not with another library. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { makeRandomOpt } from "../../scripts/fixtures/make_random_opt.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { assertSame } from "../support/assert_same.ts";
import { type LocalHost, openLocalHost } from "../support/local_host.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { runFingerprint } from "../../src/prune/run/fingerprint.ts";
import { type FolderJob, pruneIntoFolder } from "../../src/prune/run/folder_destination.ts";
import { type Checkpoint, openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { findProducts } from "../../src/device/cpu/products/find_products.ts";
import { PRECISIONS } from "../../src/device/cpu/products/product_library.ts";
import { describeRounding } from "../../src/device/backend.ts";
import { selectBackend } from "../../src/host/backends.ts";
import type { LogEntry } from "../../src/host/metrics.ts";
import { openModel } from "../../src/model/model.ts";

const SHAPE = { layers: 2, hidden: 64, heads: 2, ffn: 128, vocabulary: 2048, positions: 8 };
const WINDOWS = [Uint32Array.of(7, 300, 2, 45, 1999, 8), Uint32Array.of(1, 2, 3, 5, 8, 13)];
const NAMES = ["0.self_attn.q_proj", "0.fc1", "1.fc2"].map((name) => `model.decoder.layers.${name}.weight`);

const libraries = findProducts({ products: "auto", precisions: PRECISIONS }).filter((found) =>
  found !== undefined
);
const library = libraries.find(({ precision }) => precision === "bfloat16") ?? libraries[0];
const skip = library ? false : "no library for products is installed in a usual place";
if (skip) console.log(`run_prune_products_test.ts is skipped: ${skip}`);

const folder = temporaryFolder();

describe("pruneIntoFolder() with a library for products", { skip }, () => {
  let checkpoint: Checkpoint, withLibrary: LocalHost, without: LocalHost;
  before(async () => {
    await makeRandomOpt(`${folder}/model`, SHAPE);
    checkpoint = await openCheckpoint(`${folder}/model`, denoFileSystem);
    withLibrary = await openLocalHost("cpu", { products: library!.path, precision: library!.precision });
    without = await openLocalHost("cpu", { products: "own" });
  });
  after(async () => {
    await withLibrary[Symbol.asyncDispose]();
    await without[Symbol.asyncDispose]();
    await checkpoint.close();
  });

  /** Prunes three layers into `out`. With `isStopped`, the run fails before it calibrates the last one. */
  function prune(host: LocalHost, out: string, isStopped = false): Promise<unknown> {
    const job: FolderJob = {
      checkpoint,
      model: openModel(checkpoint),
      windows: WINDOWS,
      layers: new Set(NAMES),
      queryOf: (name) => {
        if (isStopped && name === NAMES.at(-1)) throw new Error("stopped");
        return { sparsity: 0.5 };
      },
      activations: "disk",
      out: `${folder}/${out}`,
      fingerprint: runFingerprint({ "--sparsity": "0.5" }, host.backend),
      reportFileNames: [],
      reportFiles: () => Promise.resolve(new Map()),
    };
    return pruneIntoFolder(job, { fs: denoFileSystem, backend: host.backend, pruner: host.pruner });
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
