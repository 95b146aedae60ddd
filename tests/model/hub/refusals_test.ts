/** Tests the models that cannot be downloaded, and the advice in the error messages. Hostile listings are tested in tests/attacks. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { hubFiles } from "../../../src/cli/files/use_hub.ts";
import { gitDigest } from "./fake_hub.ts";
import { FILES, WEIGHTS, withHub } from "./hub_scene.ts";

describe("resolveModel(), if a model cannot be downloaded,", () => {
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
