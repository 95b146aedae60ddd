/** Tests `pare push` with a stand-in for the hub, and the model card of the run that is pushed. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { assertSame } from "../support/assert_same.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { readFolder, temporaryFolder } from "../support/temporary_folder.ts";
import { serveWritableHub, TOKEN, type WritableHub } from "../support/writable_hub.ts";
import { pushFolder, type PushOptions } from "../../src/model/hub/push_folder.ts";
import { pareJson, runPare, succeeded } from "./run_pare.ts";

const folder = temporaryFolder(), pruned = `${folder}/pruned`, model = `${folder}/model`;

/** The result of `pare push --json`. */
interface Pushed {
  readonly files: { readonly name: string; readonly bytes: number }[];
  readonly bytes: number;
  readonly url?: string;
}

before(async () => {
  await Deno.mkdir(model);
  for (const name of ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(`${OPT_SOTU}/${name}`, `${model}/${name}`);
  }
  await Deno.mkdir(`${model}/assets`);
  await Deno.writeTextFile(`${model}/assets/figure.svg`, "<svg/>");
  await Deno.writeTextFile(`${model}/README.md`, "---\nlicense: cc0-1.0\n---\n\n# Speeches\n");
  const options = ["--samples", "2", "--seqlen", "32", "--layers", "fc2", "--method", "magnitude"];
  const text = ["--calibration", `${model}/tokenizer.json`, "--backend", "cpu"];
  await pareJson("prune", model, "--out", pruned, ...text, ...options);
});

/** The names of the files in the pruned folder, and in its folders. */
async function names(): Promise<string[]> {
  return [...(await readFolder(pruned)).keys()].map((name) => name.slice(1));
}

it("pare prune copies the files in the folders of the model", async () => {
  assert.equal(await Deno.readTextFile(`${pruned}/assets/figure.svg`), "<svg/>");
});

describe("the model card of pare prune", () => {
  it("has the licence and the text of the base model, and describes the run", async () => {
    const card = await Deno.readTextFile(`${pruned}/README.md`);
    assert.match(
      card,
      /^---\nlibrary_name: "transformers"\nlicense: "cc0-1\.0"\ntags:\n- pare\n- pruned\n---\n/,
    );
    assert.match(card, /\n\| fc2 \| 4 \| 50\.0 % \|/);
    assert.match(card, /\n\| Calibration text \| sha256:[0-9a-f]{64} \|\n/);
    assert.match(card, /\n## Card of the base model\n\n# Speeches\n$/);
    assert.ok(!card.includes(folder), "the card has no path of this machine");
    await pareJson("verify", pruned);
  });
});

describe("pare push", () => {
  let hub: WritableHub;
  before(() => void (hub = serveWritableHub()));
  after(() => hub[Symbol.asyncDispose]());

  /** Runs the command with the variables of the stand-in. */
  async function run(words: readonly string[], env: Record<string, string> = {}) {
    const variables = { HF_ENDPOINT: hub.url, HF_TOKEN: TOKEN, HF_HUB_OFFLINE: "", ...env };
    for (const [name, value] of Object.entries(variables)) Deno.env.set(name, value);
    try {
      return await runPare("push", ...words);
    } finally {
      for (const name of Object.keys(variables)) Deno.env.delete(name);
    }
  }

  /** Runs a command that must fail, and returns its message. */
  async function failure(code: number, words: readonly string[], env?: Record<string, string>) {
    const ended = await run(words, env);
    assert.equal(ended.code, code, ended.stderr);
    return ended.stderr;
  }

  it("lists the files without a token and without a request with --dry-run", async () => {
    const count = hub.requests.length;
    const { files, bytes } = await pareJson<Pushed>("push", pruned, "me/model", "--dry-run");
    assert.deepEqual(files.map(({ name }) => name), await names());
    for (const file of files) assert.equal(file.bytes, Deno.statSync(`${pruned}/${file.name}`).size);
    assert.equal(bytes, files.reduce((sum, file) => sum + file.bytes, 0));
    const { stdout } = await runPare("push", pruned, "me/model", "--dry-run");
    assert.match(stdout, /would push \d files with \d\.\d MB to me\/model; nothing was sent\n$/);
    assert.equal(hub.requests.length, count);
  });

  it("uploads every file in one commit to a new private repository", async () => {
    const { stdout, stderr } = await succeeded(run([pruned, "me/model", "--private", "--json"]));
    const repository = hub.repositories.get("me/model")!;
    assert.equal(repository.private, true);
    assert.equal(repository.commits.length, 1);
    assert.deepEqual([...repository.files.keys()].sort(), await names());
    for (const [name, bytes] of repository.files) {
      assertSame(bytes, await Deno.readFile(`${pruned}/${name}`), name);
    }
    assert.equal(JSON.parse(stdout).url, `${hub.url}/me/model/commit/${"1".padStart(40, "0")}`);
    assert.match(stderr, /uploading model\.safetensors/);
  });

  it("sends no object again that the hub has", async () => {
    const first = hub.requests.length;
    assert.equal((await run([pruned, "me/model"])).code, 0);
    const sent = hub.requests.slice(first);
    assert.deepEqual(sent.filter((line) => line.startsWith("PUT")), []);
    assert.equal(hub.repositories.get("me/model")!.commits.length, 2);
  });

  it("names pickles that are not weights and does not push them, and replaces the weights beside such a pickle", async () => {
    const pickle = "training_args.bin", trained = `${pruned}/${pickle}`;
    await Deno.writeTextFile(trained, "");
    const { stdout, stderr } = await run([pruned, "me/trained", "--json"]);
    await Deno.remove(trained);
    assert.match(stderr, /not pushed, because loading a pickle can run code: training_args\.bin\n/);
    assert.deepEqual(JSON.parse(stdout).files.map(({ name }: { name: string }) => name), await names());
    const { files } = hub.repositories.get("me/trained")!;
    assert.deepEqual([...files.keys()].sort(), await names());
    files.set(pickle, new Uint8Array(1));
    assert.equal((await run([pruned, "me/trained"])).code, 0);
  });

  it("refuses a public repository with --private, and one with weights that loaders could prefer", async () => {
    assert.equal((await run([pruned, "me/public"])).code, 0);
    assert.match(
      await failure(3, [pruned, "me/public", "--private"]),
      /me\/public: exists and is not private/,
    );
    hub.repositories.get("me/public")!.files.set("pytorch_model.bin", new Uint8Array(1));
    assert.match(
      await failure(3, [pruned, "me/public"]),
      /has the weight files pytorch_model\.bin, which loaders/,
    );
  });

  it("refuses a missing or wrong token, a wrong name, and another owner, and says what helps", async () => {
    assert.match(await failure(2, [pruned, "me/x"], { HF_TOKEN: "" }), /HF_TOKEN is not set: it must be/);
    assert.match(
      await failure(3, [pruned, "me/x"], { HF_TOKEN: "hf_other" }),
      /401: .*may not write to me\/x/,
    );
    assert.match(await failure(3, [pruned, "you/x"]), /403: .*it needs write access/);
    assert.match(await failure(2, [pruned, "../x"]), /repository \.\.\/x: must have the form OWNER\/NAME/);
    assert.match(await failure(2, [pruned, "me/x"], { HF_HUB_OFFLINE: "1" }), /HF_HUB_OFFLINE is set/);
    assert.ok(!hub.repositories.has("me/x"));
  });

  it("refuses an unfinished run and an incomplete checkpoint, and names what is missing", async () => {
    const unfinished = `${folder}/unfinished`;
    await Deno.mkdir(`${unfinished}/.pare`, { recursive: true });
    await Deno.writeTextFile(`${unfinished}/.pare/run.json`, '{"fingerprint":{}}');
    await Deno.writeTextFile(`${unfinished}/model.safetensors.partial`, "");
    const words = [unfinished, "me/x", "--dry-run"];
    assert.match(
      await failure(3, words),
      /unfinished run, .* write model\.safetensors, config\.json; repeat/,
    );
    await Deno.remove(`${unfinished}/.pare`, { recursive: true });
    assert.match(await failure(3, words), /unfinished: .*config\.json/);
  });
});

describe("pushFolder()", () => {
  /** Pushes to a new stand-in. */
  async function push(hub: WritableHub, options: Partial<PushOptions> = {}) {
    return await pushFolder({
      ...{ fetch, hubUrl: hub.url, accessToken: TOKEN, folder: pruned, repo: "me/model", backoffMs: 1 },
      files: await names(),
      ...options,
    });
  }

  it("repeats an upload that failed, and keeps what the hub has", async () => {
    await using hub = serveWritableHub();
    hub.uploadStatuses.push(200, 503, 200, 500);
    const retries: string[] = [];
    await push(hub, { onRetry: ({ message }) => retries.push(message) });
    assert.ok(
      retries.length >= 1 && retries.every((message) => /the hub responded|cannot be reached/.test(message)),
    );
    assert.equal(hub.repositories.get("me/model")!.commits.length, 1);
  });

  it("makes no commit if it is interrupted during an upload", async () => {
    await using hub = serveWritableHub();
    const controller = new AbortController(), reason = new Error("interrupted");
    hub.onUpload = () => controller.abort(reason);
    await assert.rejects(push(hub, { signal: controller.signal }), reason);
    assert.deepEqual(hub.repositories.get("me/model")!.commits, []);
    assert.ok(!hub.requests.some((line) => line.includes("/commit/")));
    hub.onUpload = undefined;
    await push(hub);
    assert.equal(hub.repositories.get("me/model")!.commits.length, 1);
  });
});
