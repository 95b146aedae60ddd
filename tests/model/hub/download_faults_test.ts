/** Tests downloads that are interrupted, stall, arrive damaged or cannot be stored. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { hubFiles } from "../../../src/cli/files/use_hub.ts";
import type { HubProgress } from "../../../src/model/hub/resolve_model.ts";
import { assertSame } from "../../support/assert_same.ts";
import { listNames } from "../../support/temporary_folder.ts";
import { FILES, WEIGHTS, withHub } from "./hub_scene.ts";

describe("resolveModel(), if a download fails,", () => {
  it("resumes an interrupted download, in the same run and in the next one", () =>
    withHub(FILES, async ({ hub, cacheDir, resolve }) => {
      hub.breakAfter = 3000;
      const folder = await resolve("hf:some/model");
      assertSame(await Deno.readFile(`${folder}/model.safetensors`), WEIGHTS);
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
      const partial = listNames(blobs).find((name) => name.endsWith(".incomplete"));
      assert.ok(partial);
      await Deno.truncate(`${blobs}/${partial}`, 5000);
      assertSame(await Deno.readFile(`${await resolve("hf:some/model")}/model.safetensors`), WEIGHTS);
      assert.deepEqual(ranges(), [`5000-${WEIGHTS.length - 1}`]);
      assert.ok(!listNames(blobs).some((name) => name.endsWith(".incomplete")));
    }));

  it("aborts a stalled connection and resumes the download", () =>
    withHub(FILES, async ({ hub, resolve }) => {
      Object.assign(hub, { breakAfter: 5000, isStalling: true });
      const folder = await resolve("hf:some/model", { stallMs: 100 });
      assertSame(await Deno.readFile(`${folder}/model.safetensors`), WEIGHTS);
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
      assert.equal(listNames(`${cacheDir}/models--some--model/blobs`).length, 3);
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
});
