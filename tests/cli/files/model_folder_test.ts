import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { displayedName, hubReference, modelFolder } from "../../../src/cli/files/model_folder.ts";
import { Output } from "../../../src/cli/terminal/output.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { serveHub } from "../../model/hub/fake_hub.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

/** An output that collects its remarks instead of printing them. */
class RecordedOutput extends Output {
  readonly lines: string[] = [];
  override remark(line: string): void {
    this.lines.push(line);
  }
}

const { signal } = new AbortController();

describe("modelFolder()", () => {
  it("returns a folder unchanged, and refuses one that does not exist", async () => {
    for (const folder of ["tests", "./tests", "/"]) {
      assert.equal(await modelFolder(folder, new RecordedOutput(false), signal, {}), folder);
    }
    await assert.rejects(modelFolder("./hf:odd", new RecordedOutput(false), signal, {}), {
      name: "UsageError",
      message: "model ./hf:odd: there is no such file or folder",
    });
    await assert.rejects(modelFolder("./owner/name", new RecordedOutput(false), signal, {}), {
      name: "UsageError",
      message: "model ./owner/name: there is no such file or folder",
    });
  });

  it("downloads a model of the hub with the settings of the environment, and reports the first file", () =>
    withTemporaryFolder(async (HF_HOME) => {
      const commit = "3".repeat(40);
      const files = { "config.json": "{}", "model.safetensors": encode({}) };
      await using hub = serveHub({ repo: "some/model", revisions: { main: commit }, files });
      const output = new RecordedOutput(false);
      const env = { HF_HOME, HF_ENDPOINT: hub.url, HF_TOKEN: "hf_x" };
      const folder = await modelFolder("hf:some/model", output, signal, env);
      assert.equal(folder, `${HF_HOME}/hub/models--some--model/snapshots/${commit}`);
      assert.equal(hub.token, "Bearer hf_x");
      assert.deepEqual(output.lines, ["fetching 0/2 config.json"]);
      const bare = new RecordedOutput(false);
      assert.equal(await modelFolder("some/model", bare, signal, env), folder);
      assert.equal(bare.lines[0], "some/model: there is no such folder, so it is hf:some/model of the hub");
      const requestCount = hub.requests.length;
      assert.equal(await modelFolder("tests/cli", new RecordedOutput(false), signal, env), "tests/cli");
      assert.equal(
        await modelFolder("hf:some/model", output, signal, { ...env, HF_HUB_OFFLINE: "1" }),
        folder,
      );
      assert.equal(hub.requests.length, requestCount);
    }));
});

describe("hubReference()", () => {
  it("returns the model of the hub that a name stands for, but not if there is a folder or a file of this name", async () => {
    for (
      const [model, reference] of [
        ["some/model", "hf:some/model"],
        ["some/model@v1.0", "hf:some/model@v1.0"],
        ["hf:some/model", "hf:some/model"],
        ["tests/cli", undefined],
        ["src/README.md", undefined],
        ["model", undefined],
        ["./some/model", undefined],
        ["some/other/model", undefined],
        ["../model", undefined],
      ] as const
    ) {
      assert.equal(await hubReference(model), reference, model);
    }
  });
});

describe("displayedName()", () => {
  it("is the name of the folder, or the reference to the hub", async () => {
    assert.equal(await displayedName("./tests/", "./tests/"), "tests");
    assert.equal(await displayedName("some/model", "/cache/snapshot"), "hf:some/model");
    assert.equal(await displayedName("hf:some/model@v1", "/cache/snapshot"), "hf:some/model@v1");
  });
});
