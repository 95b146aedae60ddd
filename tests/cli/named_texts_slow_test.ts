/** Tests the named texts and the protocols of commands, with a local stand-in of the hub. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { freePort } from "../../scripts/processes/child_edge.ts";
import { NAMED_TEXTS, type TextName } from "../../src/prune/texts/named_texts.ts";
import { serveHub } from "../model/hub/fake_hub.ts";
import { c4File, ROWS_FILE } from "../prune/texts/named_files.ts";
import { assertSame } from "../support/assert_same.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { type Finished, runPareWith, succeeded, words } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

/** A repository of the stand-in with the files of a named text. */
function repository(
  name: TextName,
  calibration: Uint8Array<ArrayBuffer>,
  evaluation: Uint8Array<ArrayBuffer>,
) {
  const { repo, commit, files } = NAMED_TEXTS[name];
  const contents = { [files.calibration]: calibration, [files.evaluation]: evaluation };
  return { repo, revisions: { main: commit }, files: contents };
}

const folder = temporaryFolder();
const documents = c4File(Array.from({ length: 300 }, (_, i) => i % 10 === 0 ? 60 : 5));
const rows = await Deno.readFile(ROWS_FILE);
const hub = serveHub(repository("c4", documents, documents), repository("wikitext2", rows, rows));
const env = { HF_HOME: `${folder}/hf`, HF_ENDPOINT: hub.url };
await Deno.writeFile(`${folder}/brought.json.gz`, documents);
after(() => hub[Symbol.asyncDispose]());

function prune(out: string, calibration: string, ...options: readonly string[]): Promise<Finished> {
  return pruneWith(env, out, calibration, ...options);
}

function pruneWith(
  env: Record<string, string>,
  out: string,
  calibration: string,
  ...options: readonly string[]
) {
  const args = words`
    prune ${OPT_SOTU} --out ${folder}/${out} --calibration ${calibration} --samples 4 --seqlen 32
    --max-layer 1 --method sparsegpt --backend cpu ${options}
  `;
  return runPareWith(env, ...args);
}

async function report(out: string) {
  return JSON.parse(await Deno.readTextFile(`${folder}/${out}/pare.json`));
}

function weights(out: string): Promise<Uint8Array> {
  return Deno.readFile(`${folder}/${out}/model.safetensors`);
}

describe("a named text", () => {
  it("is downloaded once, calibrates and measures a run, and its digest is in the report", async () => {
    const first = await succeeded(prune("named", "c4", "--text", "wikitext2", "--windows", "2"));
    assert.match(first.stdout, /perplexity on wikitext2 \(2 windows of 32\)/);
    const { calibration, perplexity, fingerprint } = await report("named");
    assert.deepEqual(calibration, {
      text: "c4",
      digest: fingerprint["the calibration text"],
      samples: 4,
      validation_samples: 0,
      seqlen: 32,
      seed: 0,
    });
    assert.deepEqual([perplexity.length, perplexity[0].text], [1, "wikitext2"]);
    assert.match(fingerprint["the calibration text"], /^c4, sha256:[0-9a-f]{64}$/);
    assert.match(fingerprint["--text"], /^wikitext2, sha256:[0-9a-f]{64}$/);
    const requests = hub.requests.length;
    const again = await prune("named", "c4", "--text", "wikitext2", "--windows", "2");
    assert.match(again.stderr, /this run is finished already/);
    assert.equal(hub.requests.length, requests);
  });

  it("gives the same result from a file that the user brings, and another one with another seed", async () => {
    for (const [out, ...options] of [["brought"], ["seed", "--seed", "1"]]) {
      await succeeded(pruneWith({}, out, `c4=${folder}/brought.json.gz`, ...options));
    }
    await succeeded(prune("fresh", "c4"));
    assertSame(await weights("brought"), await weights("fresh"));
    assert.notDeepEqual(await weights("seed"), await weights("fresh"));
  });

  it("is named with its URL and the option for a file if the hub cannot be reached", async () => {
    const url = `https://huggingface.co/datasets/allenai/c4/resolve/${NAMED_TEXTS.c4.commit}/` +
      NAMED_TEXTS.c4.files.calibration;
    const advice = `Or download ${url} elsewhere, and give the file by --calibration c4=FILE`;
    const closed = { HF_HOME: `${folder}/empty`, HF_ENDPOINT: `http://127.0.0.1:${freePort()}` };
    for (const [code, variables] of [[4, closed], [3, { ...closed, HF_HUB_OFFLINE: "1" }]] as const) {
      const finished = await pruneWith(variables, "none", "c4");
      assert.equal(finished.code, code, finished.stderr);
      assert.ok(finished.stderr.includes(`error: option --calibration c4: `), finished.stderr);
      assert.ok(finished.stderr.trimEnd().endsWith(advice), finished.stderr);
    }
  });

  it("names the option and the file if a file is missing", async () => {
    const { code, stderr } = await prune("none", `c4=${folder}/absent`);
    assert.equal(code, 2);
    assert.match(stderr, /^error: option --calibration .*\/absent: there is no such file/m);
  });

  it("is measured by pare eval", async () => {
    const options = ["--seqlen", "32", "--windows", "2", "--backend", "cpu", "--json"];
    const { stdout } = await succeeded(runPareWith(
      env,
      ...words`eval ${OPT_SOTU} --text wikitext2 --text c4 ${options}`,
    ));
    const [{ texts }] = JSON.parse(stdout).models;
    assert.deepEqual(texts.map(({ text }: { text: string }) => text), ["wikitext2", "c4"]);
  });
});

describe("--protocol sparsegpt", () => {
  it("is refused for a model with fewer positions, before any download", async () => {
    const requests = hub.requests.length;
    const args = ["prune", OPT_SOTU, "--out", `${folder}/none`, "--protocol", "sparsegpt"];
    const { code, stderr } = await runPareWith({ ...env, HF_HOME: `${folder}/other` }, ...args);
    assert.deepEqual([code, stderr], [
      2,
      "error: option --seqlen 2048: the model has positions for 512 tokens\n",
    ]);
    assert.equal(hub.requests.length, requests);
  });
});
