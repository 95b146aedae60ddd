/**
 * Tests downloads of models from a fake Hugging Face hub: the files that are fetched, the content of the
 * cache, and the handling of faults.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { hubFiles } from "../../src/cli/files/hub_files.ts";
import { type HubProgress, resolveModel, type ResolveOptions } from "../../src/hub/resolve_model.ts";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { encode } from "../../src/safetensors/encode.ts";
import { patternTensor } from "../support/checkpoint_files.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";
import { type FakeHub, type FakeModel, gitDigest, serveHub } from "./fake_hub.ts";

const MAIN = "1".repeat(40), OLD = "2".repeat(40);
const WEIGHTS = encode({ w: patternTensor("F32", [40, 50], 1) });
const TORCH = fileURLToPath(new URL("../fixtures/torch", import.meta.url));

/** A model whose repository also has files that must not be downloaded. */
const FILES = {
  "config.json": '{"model_type":"opt"}',
  "tokenizer.json": "{}",
  "merges.txt": "",
  "model.safetensors": WEIGHTS,
  "pytorch_model.bin": "not wanted",
  "tf_model.h5": "not wanted",
  "README.md": "not wanted",
};

/**
 * The objects of one test: a fake hub with its model, an empty cache, and a function that calls
 * {@link resolveModel} with this hub and this cache.
 */
interface Scene {
  readonly hub: FakeHub;
  readonly cacheDir: string;
  readonly model: FakeModel;
  resolve(reference: string, options?: Partial<ResolveOptions>): Promise<string>;
}

/** Runs `body` with a fake hub and an empty cache. */
function withHub(files: FakeModel["files"], body: (scene: Scene) => Promise<void>): Promise<void> {
  return withTemporaryFolder(async (cacheDir) => {
    const model = { repo: "some/model", revisions: { main: MAIN, "v1.0": OLD }, files };
    await using hub = serveHub(model);
    const resolve: Scene["resolve"] = (reference, options) =>
      resolveModel(reference, { fs: hubFiles, cacheDir, fetch, hubUrl: hub.url, backoffMs: 1, ...options });
    await body({ hub, cacheDir, model, resolve });
  });
}

/** The sorted names of the files in a folder. */
function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
}

const noNetwork: typeof fetch = () => Promise.reject(new TypeError("no route to host"));

describe("resolveModel", () => {
  it("downloads the files that Pare needs into the cache that Hugging Face's tools share", () =>
    withHub(FILES, async ({ cacheDir, resolve }) => {
      const progress: HubProgress[] = [];
      const folder = await resolve("hf:some/model", { progress: (state) => progress.push(state) });
      const cache = `${cacheDir}/models--some--model`;
      assert.equal(folder, `${cache}/snapshots/${MAIN}`);
      assert.deepEqual(names(folder), ["config.json", "merges.txt", "model.safetensors", "tokenizer.json"]);
      assert.deepEqual(await Deno.readFile(`${folder}/model.safetensors`), WEIGHTS);
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
      ["config.json", ...names(`${TORCH}/opt-sharded`).filter((name) => name.startsWith("pytorch_model"))]
        .map((name) => [name, Deno.readFileSync(`${TORCH}/opt-sharded/${name}`)]),
    );
    await withHub(torch, async ({ resolve }) => {
      const checkpoint = await openCheckpoint(await resolve("hf:some/model"), hubFiles);
      assert.ok(checkpoint.has("model.decoder.embed_tokens.weight"));
      await checkpoint.close();
    });
  });

  it("resumes an interrupted download, in the same run and in the next one", () =>
    withHub(FILES, async ({ hub, cacheDir, resolve }) => {
      hub.breakAfter = 3000;
      const folder = await resolve("hf:some/model");
      assert.deepEqual(await Deno.readFile(`${folder}/model.safetensors`), WEIGHTS);
      const ranges = () =>
        hub.requests.filter((line) => /safetensors bytes=[^0]/.test(line)).map((line) => line.split("=")[1]);
      assert.deepEqual(ranges(), [`3000-${WEIGHTS.length - 1}`, `6000-${WEIGHTS.length - 1}`]);

      await Deno.remove(`${cacheDir}/models--some--model`, { recursive: true });
      hub.requests.length = 0;
      hub.breakAfter = undefined;
      const stop = new AbortController();
      const progress = ({ file, bytes }: HubProgress) =>
        file === "model.safetensors" && bytes > 0 && stop.abort();
      await assert.rejects(resolve("hf:some/model", { signal: stop.signal, progress }), {
        name: "AbortError",
      });
      const blobs = `${cacheDir}/models--some--model/blobs`;
      const partial = names(blobs).find((name) => name.endsWith(".incomplete"));
      assert.ok(partial);
      await Deno.truncate(`${blobs}/${partial}`, 5000);
      assert.deepEqual(await Deno.readFile(`${await resolve("hf:some/model")}/model.safetensors`), WEIGHTS);
      assert.deepEqual(ranges(), [`5000-${WEIGHTS.length - 1}`]);
      assert.ok(!names(blobs).some((name) => name.endsWith(".incomplete")));
    }));

  it("aborts a stalled connection and resumes the download", () =>
    withHub(FILES, async ({ hub, resolve }) => {
      Object.assign(hub, { breakAfter: 5000, isStalling: true });
      const folder = await resolve("hf:some/model", { stallMs: 100 });
      assert.deepEqual(await Deno.readFile(`${folder}/model.safetensors`), WEIGHTS);
      const ranges = hub.requests.filter((line) => /safetensors bytes=[^0]/.test(line));
      assert.equal(ranges.length, 1);
    }));

  it("reports a disk error as it is, not as an unreachable hub", () =>
    withHub(FILES, async ({ resolve }) => {
      const edit: typeof hubFiles.edit = async (path) => {
        const file = await hubFiles.edit(path);
        const write = () => Promise.reject(new Error("the disk is full"));
        return {
          byteLength: 0,
          write,
          read: file.read.bind(file),
          sync: file.sync.bind(file),
          close: () => file.close(),
        };
      };
      await assert.rejects(
        resolve("hf:some/model", { fs: { ...hubFiles, edit } }),
        /^Error: the disk is full$/,
      );
    }));

  it("closes the connection if the disk fails during a download", () =>
    withHub(FILES, async ({ hub, resolve }) => {
      Object.assign(hub, { breakAfter: 5000, isStalling: true });
      const edit: typeof hubFiles.edit = async (path) => {
        const file = await hubFiles.edit(path);
        const write = file.write.bind(file);
        file.write = async (offset, bytes) => {
          if (bytes.byteLength > 1000) throw new Error("the disk is full");
          await write(offset, bytes);
        };
        return file;
      };
      await assert.rejects(resolve("hf:some/model", { fs: { ...hubFiles, edit } }), /the disk is full/);
      // The hub's shutdown after the test waits for open connections, so an open one would block the test here.
    }));

  it("refuses invalid file names, digests and commits from a hub", () =>
    withHub(FILES, async ({ hub, cacheDir, model, resolve }) => {
      const entry = { type: "file", path: "config.json", size: 2, oid: gitDigest("{}") };
      const weights = { ...entry, path: "model.safetensors" };
      for (const oid of ["../../../x", "", undefined, "A".repeat(40), "a".repeat(41)]) {
        hub.listing = [{ ...entry, oid }, weights];
        await assert.rejects(resolve("hf:some/model"), {
          name: "ModelError",
          message: /the hub lists the invalid digest/,
        });
      }
      hub.listing = [{ ...entry, path: "../config.json" }, { ...entry, path: "a\\..\\config.json" }, weights];
      await assert.rejects(resolve("hf:some/model"), { name: "ModelError", message: /has no config.json/ });
      model.revisions.main = "../../x";
      await assert.rejects(resolve("hf:some/model"), {
        name: "ModelError",
        message: /names no valid commit for main/,
      });
      assert.deepEqual(names(cacheDir).filter((name) => name !== "models--some--model"), []);
    }));

  it("removes a download with a wrong digest or length", () =>
    withHub(FILES, async ({ hub, cacheDir, resolve }) => {
      hub.forged["model.safetensors"] = WEIGHTS.map((byte) => byte ^ 1);
      const refused = {
        name: "ModelError",
        message: /model.safetensors: the download has .* the file was removed, try again/,
      };
      await assert.rejects(resolve("hf:some/model"), refused);
      hub.forged["model.safetensors"] = new Uint8Array(2 * WEIGHTS.length);
      await assert.rejects(resolve("hf:some/model"), refused);
      assert.equal(names(`${cacheDir}/models--some--model/blobs`).length, 3);
      delete hub.forged["model.safetensors"];
      await resolve("hf:some/model");
    }));

  it("retries while the hub is busy, announces each retry, and gives up after four", () =>
    withHub(FILES, async ({ hub, resolve }) => {
      hub.statuses.push(503, 429, 200, 500);
      const retried: string[] = [];
      await resolve("hf:some/model", { onRetry: ({ message }) => retried.push(message) });
      assert.equal(retried.length, 3);
      assert.match(retried[0], /^hf:some\/model: the hub cannot be reached: .*503/);
      hub.statuses.push(...Array(9).fill(503));
      hub.requests.length = 0;
      await assert.rejects(resolve("hf:some/model@v1.0"), {
        name: "HubUnreachable",
        message: /simulated status 503/,
      });
      assert.equal(hub.requests.length, 5);
    }));

  it("advises the user if a model is missing, private or gated", () =>
    withHub(FILES, async ({ hub, resolve }) => {
      const refused = (message: RegExp) => ({ name: "ModelError", message });
      await assert.rejects(
        resolve("hf:some/typo"),
        refused(
          /hf:some\/typo: the hub responded with status 404: Repository not found.*There is no such model or revision/,
        ),
      );
      await assert.rejects(
        resolve("hf:some/model@v9"),
        refused(/Invalid rev id: v9.*no such model or revision/),
      );
      hub.statuses.push(401);
      await assert.rejects(resolve("hf:some/model"), refused(/status 401: .*accept them and set HF_TOKEN/));
      hub.statuses.push(403);
      await assert.rejects(
        resolve("hf:some/model", { accessToken: "hf_secret" }),
        (error: Error) =>
          refused(/status 403.*HF_TOKEN gives no access/).message.test(error.message) &&
          !error.message.includes("hf_secret"),
      );
      assert.equal(hub.token, "Bearer hf_secret");
      await assert.rejects(
        resolve("hf:some/model", { accessToken: "secret" }),
        refused(/does not begin with hf_/),
      );
    }));

  it("refuses a repository without weights or without a configuration", async () => {
    const { "model.safetensors": _weights, "pytorch_model.bin": _torch, ...others } = FILES;
    await withHub(
      others,
      ({ resolve }) =>
        assert.rejects(resolve("hf:some/model"), {
          name: "ModelError",
          message: /has no weights in safetensors/,
        }),
    );
    await withHub(
      { "model.safetensors": WEIGHTS },
      ({ resolve }) =>
        assert.rejects(resolve("hf:some/model"), { name: "ModelError", message: /has no config.json/ }),
    );
  });

  it("fails if another process is downloading the same file", () =>
    withHub(FILES, async ({ cacheDir, resolve }) => {
      const locks = `${cacheDir}/.locks/models--some--model`;
      await Deno.mkdir(locks, { recursive: true });
      await using _held = await hubFiles.lock(`${locks}/${gitDigest(FILES["config.json"])}.lock`);
      await assert.rejects(resolve("hf:some/model"), /config.json: another process is downloading it/);
    }));
});
