/** Runs of whole models at a host process, with a stand-in for the Hugging Face hub. The host and its commands are killed on the way. */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { startHost } from "../../scripts/processes/child_host.ts";
import type { Run } from "../../src/protocol/messages.ts";
import { serveHub } from "../model/hub/fake_hub.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { assertSame } from "../support/assert_same.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { pareJson, words } from "./run_pare.ts";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";

const folder = temporaryFolder();
const { calibration } = await writeSotuTexts(`${folder}/text`);
const LLAMA = OPT_SOTU.replace("opt-sotu", "llama-sotu"), MAIN = "4".repeat(40);
const files = Object.fromEntries([...Deno.readDirSync(LLAMA)].map(({ name }) => [
  name,
  Deno.readFileSync(`${LLAMA}/${name}`),
]));
const hub = serveHub({ repo: "some/llama", revisions: { main: MAIN }, files });
after(() => hub[Symbol.asyncDispose]());

const text = await Deno.readTextFile(calibration);
const REQUEST = {
  ...{ model: "some/llama", calibration: text },
  ...{ for: "gguf:q4_0", samples: 16, seqlen: 64, method: "sparsegpt" },
};

/** Starts a host whose runs are in the folder `name`. */
const hostIn = (name: string, ...more: string[]) =>
  startHost(
    ["--backend", "cpu", "--runs", `${folder}/${name}`, ...more],
    { HF_ENDPOINT: hub.url, HF_TOKEN: "" },
  );

const post = (url: string, body: unknown) =>
  fetch(`${url}/v1/runs`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": "one" },
    body: JSON.stringify(body),
  });

/** Follows a run until `isReached` accepts it. */
async function follow(url: string, id: string, isReached: (run: Run) => boolean): Promise<Run> {
  const { body } = await fetch(`${url}/v1/runs/${id}/events`);
  let text = "";
  for await (const piece of body!.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const runs = [...text.matchAll(/^data: (.*)\n/gm)].map(([, json]): Run => JSON.parse(json));
    const found = runs.find(isReached);
    if (found) return found;
  }
  throw new Error(`the events ended: ${text}`);
}

describe("pare serve --runs", () => {
  it("writes the file of pare prune from the name of a model, although the host is killed during the run", async () => {
    let id = "";
    {
      await using host = await hostIn("killed");
      const submitted = await post(host.url, REQUEST);
      ({ id } = await submitted.json());
      await follow(host.url, id, ({ plan, progress }) => plan !== null && progress?.phase === "rounding");
      Deno.kill(host.pid, "SIGKILL");
      await host.ended;
    }
    await using host = await hostIn("killed");
    const done = await follow(host.url, id, ({ state }) => state === "done" || state === "failed");
    assert.equal(done.error, null);
    const { result } = done, { written_bytes, dense_bytes, perplexity } = result!;
    assert.ok(written_bytes < dense_bytes, `${written_bytes} of ${dense_bytes}`);
    assert.ok(perplexity!.divergence! > 0 && perplexity!.divergence! < 0.1, `${perplexity!.divergence}`);
    const url = `${host.url}/v1/runs/${id}/files/model.gguf`;
    const whole = new Uint8Array(await (await fetch(url)).arrayBuffer());
    assert.equal(whole.length, result!.files.find(({ name }) => name === "model.gguf")!.bytes);
    const end = await fetch(url, { headers: { Range: "bytes=100-" } });
    assert.equal(end.status, 206);
    assertSame(new Uint8Array(await end.arrayBuffer()), whole.slice(100));

    const start = Math.ceil(text.length * 7 / 8);
    await Deno.writeTextFile(`${folder}/calibration.txt`, text.slice(0, start));
    await pareJson(
      ...words`prune ${LLAMA} --out ${folder}/same --calibration ${folder}/calibration.txt --for gguf:q4_0`,
      ...words`--samples 16 --seqlen 64 --method sparsegpt --backend cpu`,
    );
    const report = JSON.parse(await Deno.readTextFile(`${folder}/same/pare.json`));
    const remote = await (await fetch(`${host.url}/v1/runs/${id}/files/pare.json`)).json();
    const errors = ({ layers }: { layers: { relative_error: number }[] }) =>
      layers.map(({ relative_error }) => relative_error);
    assert.deepEqual(errors(remote), errors(report));
    assert.equal(whole.length, (await Deno.stat(`${folder}/same/model.gguf`)).size);
    assert.doesNotMatch(JSON.stringify(remote), new RegExp(folder));
    assert.deepEqual(
      [...Deno.readDirSync(`${folder}/killed/${id}`)].map(({ name }) => name).sort(),
      ["calibration.txt", "result", "run.json", "text.txt"],
    );
    assert.equal((await fetch(`${host.url}/v1/runs/${id}`, { method: "DELETE" })).status, 204);
    assert.deepEqual([...Deno.readDirSync(`${folder}/killed`)].map(({ name }) => name), ["lock"]);
  });

  it("says why a model is refused before it is downloaded", async () => {
    await using host = await hostIn("refused", "--runs-gib", "1");
    hub.requests.length = 0;
    const refused = async (body: unknown, status: number, detail: RegExp) => {
      const answer = await post(host.url, body), problem = await answer.json();
      assert.equal(answer.status, status, problem.detail);
      assert.match(problem.detail, detail);
    };
    await refused(
      { model: "some/other" },
      422,
      /hf:some\/other: .*status 404.*There is no such model or revision/,
    );
    hub.statuses.push(401);
    await refused(REQUEST, 422, /status 401.*has terms that must be accepted: accept them and set HF_TOKEN/);
    hub.listing = Object.entries({ "config.json": 10, "model.safetensors": 2 ** 31 }).map(([path, size]) => (
      { type: "file", path, size, oid: "0" }
    ));
    await refused(
      REQUEST,
      413,
      /needs up to \d+ bytes of disk, and the runs of this host may take 1073741824/,
    );
    hub.listing = undefined;
    assert.equal(hub.requests.filter((line) => /resolve/.test(line)).length, 0, hub.requests.join("\n"));
    assert.deepEqual([...Deno.readDirSync(`${folder}/refused`)].map(({ name }) => name), ["lock"]);
  });
});
