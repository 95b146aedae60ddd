/** Tests which files are downloaded from the hub, and when the cache replaces a download. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { hubFiles } from "../../../src/cli/files/use_hub.ts";
import type { HubProgress } from "../../../src/model/hub/resolve_model.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { assertSame } from "../../support/assert_same.ts";
import { patternTensor } from "../../support/checkpoint_files.ts";
import { gitDigest } from "./fake_hub.ts";
import { listNames } from "../../support/temporary_folder.ts";
import { FILES, MAIN, OLD, WEIGHTS, withHub } from "./hub_scene.ts";

const TORCH = fileURLToPath(new URL("../../fixtures/torch", import.meta.url));

const noNetwork: typeof fetch = () => Promise.reject(new TypeError("no route to host"));

describe("resolveModel()", () => {
  it("downloads the files that Pare needs into the cache that Hugging Face's tools share", () =>
    withHub(FILES, async ({ cacheDir, resolve }) => {
      const progress: HubProgress[] = [];
      const folder = await resolve("hf:some/model", { progress: (state) => progress.push(state) });
      const cache = `${cacheDir}/models--some--model`;
      assert.equal(folder, `${cache}/snapshots/${MAIN}`);
      assert.deepEqual(listNames(folder), [
        "config.json",
        "merges.txt",
        "model.safetensors",
        "tokenizer.json",
      ]);
      assertSame(await Deno.readFile(`${folder}/model.safetensors`), WEIGHTS);
      assert.equal(await Deno.readTextFile(`${cache}/refs/main`), MAIN);
      assert.equal(
        await Deno.readLink(`${folder}/config.json`),
        `../../blobs/${gitDigest(FILES["config.json"])}`,
      );
      assert.equal((await Deno.stat(`${folder}/merges.txt`)).size, 0);
      const { file, done, files, bytes } = progress[progress.length - 1];
      assert.deepEqual([file, done, files, bytes], ["model.safetensors", 3, 4, WEIGHTS.length]);
      await (await openCheckpoint(folder, hubFiles)).close();
    }));

  it("downloads the model card, which has the licence", () =>
    withHub({ ...FILES, "README.md": "---\nlicense: mit\n---\n" }, async ({ resolve }) => {
      assert.ok(listNames(await resolve("hf:some/model")).includes("README.md"));
    }));

  it("accepts a tag or a commit as the revision, and downloads a file only once if two commits share it", () =>
    withHub(FILES, async ({ hub, cacheDir, model, resolve }) => {
      await resolve("hf:some/model");
      model.files = { ...FILES, "config.json": '{"old":true}' };
      const requestsBefore = hub.requests.length;
      const folder = await resolve("hf:some/model@v1.0");
      assert.equal(folder, `${cacheDir}/models--some--model/snapshots/${OLD}`);
      assert.equal(await Deno.readTextFile(`${folder}/config.json`), '{"old":true}');
      assert.ok(!hub.requests.slice(requestsBefore).some((request) => request.includes("model.safetensors")));
      assert.equal(await resolve(`hf:some/model@${OLD}`, { fetch: noNetwork }), folder);
    }));

  it("uses the cache if the hub cannot be reached, and says so in a remark", () =>
    withHub(FILES, async ({ resolve }) => {
      const folder = await resolve("hf:some/model");
      const remarks: string[] = [];
      const remark = (line: string) => remarks.push(line);
      assert.equal(await resolve("hf:some/model", { fetch: noNetwork, remark }), folder);
      assert.match(
        remarks.join(),
        /hf:some\/model: the hub cannot be reached: .*no route to host; using the cached files/,
      );
      assert.equal(await resolve("hf:some/model", { fetch: noNetwork, offline: true }), folder);
      await assert.rejects(resolve("hf:some/other", { offline: true }), {
        name: "ModelError",
        message: /is not complete in .*, and HF_HUB_OFFLINE forbids downloads/,
      });
      await assert.rejects(resolve("hf:some/other", { fetch: noNetwork }), /the hub cannot be reached/);
    }));

  it("downloads the shards that an index lists, in safetensors and in PyTorch format", async () => {
    const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    const weight_map = { a: shards[0], b: shards[1] };
    const files = {
      "config.json": '{"model_type":"opt"}',
      "model.safetensors.index.json": JSON.stringify({ weight_map }),
      [shards[0]]: encode({ a: patternTensor("F16", [3], 1) }),
      [shards[1]]: encode({ b: patternTensor("F16", [5], 2) }),
      "pytorch_model.bin": "not wanted",
    };
    await withHub(files, async ({ resolve }) => {
      const checkpoint = await openCheckpoint(await resolve("hf:some/model"), hubFiles);
      assert.deepEqual([...checkpoint.names()], ["a", "b"]);
      assert.ok(!checkpoint.files.includes("pytorch_model.bin"));
      await checkpoint.close();
    });
    const { [shards[1]]: _missing, ...rest } = files;
    await withHub(
      rest,
      ({ resolve }) =>
        assert.rejects(resolve("hf:some/model"), {
          name: "ModelError",
          message: /names the shard model-00002/,
        }),
    );
    const torch = Object.fromEntries(
      ["config.json", ...listNames(`${TORCH}/opt-sharded`).filter((name) => name.startsWith("pytorch_model"))]
        .map((name) => [name, Deno.readFileSync(`${TORCH}/opt-sharded/${name}`)]),
    );
    await withHub(torch, async ({ resolve }) => {
      const checkpoint = await openCheckpoint(await resolve("hf:some/model"), hubFiles);
      assert.ok(checkpoint.has("model.decoder.embed_tokens.weight"));
      await checkpoint.close();
    });
  });
});
