/** Tests the syntax of references to models on the Hugging Face hub, and the location of the folder that caches them. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { cacheFolder } from "../../../src/model/hub/cache.ts";
import { isHubReference, parseReference } from "../../../src/model/hub/reference.ts";

describe("parseReference", () => {
  it("parses the name and the revision", () => {
    assert.deepEqual(parseReference("hf:some/Model-1.3b_x"), { repo: "some/Model-1.3b_x", revision: "main" });
    assert.deepEqual(parseReference("hf:some/model@refs/pr/1"), {
      repo: "some/model",
      revision: "refs/pr/1",
    });
    assert.ok(
      isHubReference("hf:some/model") && !isHubReference("./hf:some/model") && !isHubReference("model"),
    );
  });

  for (
    const text of [
      "hf:",
      "hf:model",
      "hf:/model",
      "hf:some/",
      "hf:some/model/more",
      "hf:some/../model",
      "hf:../model",
      "hf:some/mo--del",
      "hf:some/model@",
      "hf:some/model@../../x",
      "hf:some/model@/x",
      "hf:some/model@a@b",
      "hf:some/model?x=1",
      "hf:some/model\n",
      "some/model",
    ]
  ) {
    it(`refuses the reference ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseReference(text), {
        name: "ModelError",
        message: /must have the form hf:OWNER\/NAME/,
      });
    });
  }
});

describe("cacheFolder", () => {
  it("reads the environment variables of Hugging Face's tools and prefers the most specific variable", () => {
    const home = { HOME: "/home/me" };
    assert.equal(cacheFolder(home), "/home/me/.cache/huggingface/hub");
    assert.equal(cacheFolder({ USERPROFILE: "/me" }), "/me/.cache/huggingface/hub");
    assert.equal(cacheFolder({ ...home, XDG_CACHE_HOME: "/x" }), "/x/huggingface/hub");
    assert.equal(cacheFolder({ ...home, XDG_CACHE_HOME: "/x", HF_HOME: "/hf" }), "/hf/hub");
    assert.equal(cacheFolder({ ...home, HF_HOME: "/hf", HF_HUB_CACHE: "/c" }), "/c");
    assert.throws(() => cacheFolder({}), { name: "ModelError", message: /set HF_HOME/ });
  });
});
