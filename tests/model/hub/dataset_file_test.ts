/** Tests that files of data sets are downloaded once, to the cache that Hugging Face's tools share, and that their bytes are verified. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { hubFiles } from "../../../src/cli/files/use_hub.ts";
import { type DatasetFile, resolveDatasetFile } from "../../../src/model/hub/dataset_file.ts";
import type { ResolveOptions } from "../../../src/model/hub/resolve_model.ts";
import { freePort } from "../../../scripts/processes/child_edge.ts";
import { assertSame } from "../../support/assert_same.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";
import { type FakeHub, serveHub } from "./fake_hub.ts";

const FILE: DatasetFile = { repo: "some/texts", commit: "4".repeat(40), path: "en/part.json.gz" };
const CONTENT = Uint8Array.from({ length: 5000 }, (_, i) => i % 251);

/** Runs `body` with a hub that has the file, and an empty cache. */
function withDataset(
  body: (
    scene: { hub: FakeHub; cacheDir: string; get: (options?: Partial<ResolveOptions>) => Promise<string> },
  ) => Promise<void>,
): Promise<void> {
  return withTemporaryFolder(async (cacheDir) => {
    const files = { [FILE.path]: CONTENT, "README.md": "a page", "fr/part.json.gz": "not wanted" };
    await using hub = serveHub({ repo: FILE.repo, revisions: { main: FILE.commit }, files });
    const options = { fs: hubFiles, cacheDir, fetch, hubUrl: hub.url, backoffMs: 1 };
    await body({ hub, cacheDir, get: (others) => resolveDatasetFile("c4", FILE, { ...options, ...others }) });
  });
}

describe("resolveDatasetFile()", () => {
  it("downloads the file to the folder of its commit, and then sends no more requests", () =>
    withDataset(async ({ hub, cacheDir, get }) => {
      const path = await get();
      assert.equal(path, `${cacheDir}/datasets--some--texts/snapshots/${FILE.commit}/en/part.json.gz`);
      assertSame(await Deno.readFile(path), CONTENT);
      const count = hub.requests.length;
      assert.equal(await get(), path);
      assert.equal(await get({ offline: true }), path);
      assert.equal(hub.requests.length, count);
    }));

  it("resumes an interrupted download", () =>
    withDataset(async ({ hub, get }) => {
      hub.breakAfter = 2000;
      assertSame(await Deno.readFile(await get()), CONTENT);
    }));

  it("refuses bytes with another digest, and more bytes than the listing says", () =>
    withDataset(async ({ hub, get }) => {
      for (const forged of [CONTENT.toReversed(), new Uint8Array(1 << 20)]) {
        hub.forged[FILE.path] = forged;
        await assert.rejects(get(), {
          name: "ModelError",
          message: /but the hub lists 5000 bytes with digest/,
        });
      }
    }));

  it("refuses a listing without the file, and a hub that cannot be reached", () =>
    withDataset(async ({ hub, get }) => {
      hub.listing = [{ type: "file", path: "en/other", size: 1, oid: "0".repeat(40) }];
      await assert.rejects(get(), {
        name: "ModelError",
        message: "c4: the hub does not list en/part.json.gz in the data set some/texts",
      });
      const closed = `http://127.0.0.1:${freePort()}`;
      await assert.rejects(get({ hubUrl: closed }), { name: "HubUnreachable" });
      await assert.rejects(get({ offline: true }), {
        name: "ModelError",
        message: /HF_HUB_OFFLINE forbids downloads/,
      });
    }));
});
