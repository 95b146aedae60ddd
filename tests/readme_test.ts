/** Tests the README, whose examples run unchanged against a host, and the pages with tables, which match the results files. */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { serve } from "../routes/serve.ts";
import { pagesWithTables, renderPage } from "../scripts/write_readme_tables.ts";
import { decode } from "../src/tensor/safetensors/decode.ts";

const README_ORIGIN = "http://127.0.0.1:8000";
const repository = new URL("../", import.meta.url);

/** Returns the README's fenced code blocks in one language, with the origin of their URLs replaced by the test host's. */
async function examples(language: string, url: string): Promise<string[]> {
  const readme = await Deno.readTextFile(new URL("README.md", repository));
  const blocks = [...readme.matchAll(new RegExp("```" + language + "\\n([\\s\\S]*?)```", "g"))];
  assert.ok(blocks.length > 0, `the README has no ${language} example`);
  return blocks.map(([, code]) => code.replaceAll(README_ORIGIN, url));
}

async function run(command: string, args: string[], cwd: string | URL): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args, cwd }).output();
  const text = new TextDecoder();
  assert.ok(success, text.decode(stderr));
  return text.decode(stdout);
}

describe("the pages with tables", () => {
  it("match the results files", async () => {
    const plain = (text: string) => text.replace(/[ \n-]+/g, " ");
    for (const page of pagesWithTables()) {
      assert.equal(plain(await Deno.readTextFile(page)), plain(await renderPage(page)), page.pathname);
    }
  });
});

const host = await serve({ backend: "cpu", port: 0, log: () => {} });
after(() => host.shutdown());

describe("the README", () => {
  it("prunes a layer with curl", async () => {
    const [script] = await examples("sh", host.url);
    const out = await Deno.makeTempFile({ suffix: ".safetensors" });
    const headers = await run("sh", ["-c", script.replace("pruned.safetensors", out)], repository);
    assert.match(headers, /^HTTP\/1.1 200/);
    const { tensors, header } = decode(await Deno.readFile(out));
    await Deno.remove(out);
    assert.deepEqual([...tensors.keys()].sort(), ["mask", "weight"]);
    assert.equal(JSON.parse(header.metadata.report).zeros, 64 * 96 / 2);
  });

  it("prunes a layer with the SDK", async () => {
    const [code] = await examples("ts", host.url);
    const path = await Deno.makeTempFile({ dir: repository.pathname, prefix: ".readme-", suffix: ".ts" });
    try {
      await Deno.writeTextFile(path, code.replace('"pare-llm-client"', '"./src/client/mod.ts"'));
      const printed = await run(Deno.execPath(), ["run", "-A", "--no-check", "--quiet", path], repository);
      assert.match(printed, /^\[ 64, 96 \] 3072 0\.\d+/);
    } finally {
      await Deno.remove(path);
    }
  });
});
