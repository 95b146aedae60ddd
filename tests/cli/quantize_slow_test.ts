/** Tests `pare quantize` from the name of a model on a stand-in of the hub to the GGUF file. */

import { after, beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { runReportSchema } from "../../src/prune/report/run_report.ts";
import { serveHub } from "../model/hub/fake_hub.ts";
import { assertSame } from "../support/assert_same.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { mountSmallDisk, smallDiskSkip } from "../support/small_disk.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { actDuring, finish, type Finished, startPareIn, succeeded, words } from "./run_pare.ts";

const LLAMA_SOTU = OPT_SOTU.replace("opt-sotu", "llama-sotu");
const SHORT = words`--samples 8 --seqlen 64 --windows 4 --method sparsegpt --backend cpu`;
const FILES = ["little-Q4_0.gguf", "little-Q4_0.gguf.html", "little-Q4_0.gguf.json"];

const folder = temporaryFolder(), current = `${folder}/current`;
const files = Object.fromEntries(
  Array.from(Deno.readDirSync(LLAMA_SOTU), ({ name }) => [name, Deno.readFileSync(`${LLAMA_SOTU}/${name}`)]),
);
const hub = serveHub({ repo: "some/little", revisions: { main: "4".repeat(40) }, files });
const env = { HF_ENDPOINT: hub.url, HF_HOME: `${folder}/hub` };
after(() => hub[Symbol.asyncDispose]());
beforeEach(async () => {
  await Deno.remove(current, { recursive: true }).catch(() => {}); // it does not exist before the first test
  await Deno.mkdir(current);
});

const start = (...args: readonly string[]) => startPareIn(current, env, "quantize", ...args, ...SHORT);
const quantize = (...args: readonly string[]): Promise<Finished> => finish(start(...args));
const namesIn = (path: string) => Array.from(Deno.readDirSync(path), ({ name }) => name).sort();

/** Returns the file that `pare prune` writes with the same options. */
async function prunedFile(): Promise<Uint8Array> {
  const out = `${folder}/pruned`, options = ["--for", "gguf:q4_0", "--text", "pare", "--overwrite"];
  await succeeded(
    finish(startPareIn(current, env, "prune", "hf:some/little", "--out", out, ...options, ...SHORT)),
  );
  return await Deno.readFile(`${out}/model.gguf`);
}
const EXPECTED = await Deno.mkdir(current).then(prunedFile);

const skip = await smallDiskSkip();

describe("pare quantize", () => {
  it("writes the file of pare prune --for gguf:q4_0 into the current folder, from the name of a model alone", async () => {
    const { stdout, stderr } = await succeeded(quantize("some/little"));
    assert.deepEqual(namesIn(current), FILES);
    assertSame(await Deno.readFile(`${current}/${FILES[0]}`), EXPECTED);
    const report = runReportSchema.parse(JSON.parse(await Deno.readTextFile(`${current}/${FILES[2]}`)));
    assert.deepEqual([report.model.name, report.calibration.text], ["hf:some/little", "pare"]);
    assert.match(await Deno.readTextFile(`${current}/${FILES[1]}`), /8 windows of 64 tokens of pare/);
    assert.match(stderr, /^found hf:some\/little: llama with 1,967,808 parameters, 3\.9 MB$/m);
    assert.match(stderr, /^making little-Q4_0\.gguf, calibrated on 8 windows of 64 tokens of pare; /m);
    assert.match(stderr, /^rounding 28 layers /m);
    const [result, page, run] = stdout.trimEnd().split("\n");
    const [{ dense, pruned, divergence }] = report.perplexity;
    assert.match(result, /^little-Q4_0\.gguf is ready after .*\. It has 1\.4 MB instead of 3\.9 MB\. /);
    assert.ok(
      result.includes(
        `its perplexity is ${pruned!.toFixed(3)}, and the dense model's is ${dense!.toFixed(3)}`,
      ),
    );
    const [, printed] = /KL divergence of (\S+) /.exec(result)!;
    assert.ok(Math.abs(Number(printed) - divergence!) < 0.005 * divergence!, `${printed}, ${divergence}`);
    assert.equal(page, "report: little-Q4_0.gguf.html");
    assert.match(run, /llama-cli -m "little-Q4_0\.gguf" -p "PROMPT"$/);
  });

  it("takes the folder of this name if there is one, and names the file after the type", async () => {
    const requests = hub.requests.length;
    await Deno.mkdir(`${current}/some`);
    await Deno.symlink(LLAMA_SOTU, `${current}/some/little`);
    const { stderr } = await succeeded(quantize("some/little", "--for", "gguf:q8_0"));
    assert.match(stderr, /^found llama-sotu: /m);
    assert.ok(namesIn(current).includes("little-Q8_0.gguf"));
    assert.equal(hub.requests.length, requests);
  });

  it("replaces a file only with --overwrite", async () => {
    await Deno.writeTextFile(`${current}/${FILES[0]}`, "mine");
    const { code, stderr } = await quantize("some/little");
    assert.deepEqual([code, stderr], [
      2,
      "error: little-Q4_0.gguf: exists already; add --overwrite to replace it, or name another file by --out\n",
    ]);
    assert.equal(await Deno.readTextFile(`${current}/${FILES[0]}`), "mine");
    await succeeded(quantize("some/little", "--overwrite"));
    assertSame(await Deno.readFile(`${current}/${FILES[0]}`), EXPECTED);
  });

  it("writes nothing with --plan", async () => {
    const { stdout } = await succeeded(quantize("some/little", "--plan"));
    assert.match(stdout, /^time +about /m);
    assert.deepEqual(namesIn(current), []);
  });

  it("prints one JSON object with --json", async () => {
    const { stdout } = await succeeded(quantize("some/little", "--json", "--out", "other.gguf"));
    const { out, report, bytes, calibration, perplexity } = JSON.parse(stdout);
    assert.deepEqual([out, report, bytes.written], ["other.gguf", "other.gguf.html", EXPECTED.length]);
    assert.deepEqual([calibration.text, perplexity[0].text], ["pare", "pare"]);
  });
});

describe("pare quantize, if it cannot finish,", () => {
  const refused = async (args: readonly string[], exitCode: number, message: RegExp) => {
    const { code, stdout, stderr } = await quantize(...args);
    assert.deepEqual([code, stdout], [exitCode, ""], stderr);
    assert.match(stderr, message);
    assert.deepEqual(namesIn(current), []);
  };

  it("says that the hub has no model of this name, and that there is no folder", () =>
    refused(
      ["some/typo"],
      3,
      /^some\/typo: there is no such folder, so it is hf:some\/typo of the hub\nerror: hf:some\/typo: .*status 404.*There is no such model or revision$/m,
    ));

  it("says how a gated model is used", async () => {
    hub.statuses.push(401);
    await refused(["some/little"], 3, /^error: hf:some\/little: .*status 401.*accept them and set HF_TOKEN/m);
  });

  it("says that llama.cpp does not run the model, and which option has another value", async () => {
    await refused([OPT_SOTU], 3, /^error: .*opt/m);
    await refused(
      ["some/little", "--for", "gptq"],
      2,
      /'--for <format>' argument 'gptq' is invalid.*gguf:q4_0/,
    );
    await refused(
      ["some/little", "--out", "absent/x.gguf"],
      2,
      /^error: option --out absent\/x\.gguf: cannot be written/m,
    );
  });

  it("leaves no file when it is killed, and the same command finishes it with the same bytes", async () => {
    const child = start("some/little");
    const { signal } = await actDuring(
      child,
      (printed) => printed.includes("rounding 5/"),
      () => child.kill("SIGKILL"),
    );
    assert.equal(signal, "SIGKILL");
    assert.deepEqual(namesIn(current), ["little-Q4_0.gguf.run"]);
    const { stderr } = await succeeded(quantize("some/little"));
    assert.match(stderr, /^resuming at layer /m);
    assert.deepEqual(namesIn(current), FILES);
    assertSame(await Deno.readFile(`${current}/${FILES[0]}`), EXPECTED);
  });

  it("moves the result of a run that was killed before its end", async () => {
    const out = `${current}/${FILES[0]}.run`, options = ["--for", "gguf:q4_0", "--text", "pare", ...SHORT];
    await succeeded(finish(startPareIn(current, env, "prune", "some/little", "--out", out, ...options)));
    const { stderr } = await succeeded(quantize("some/little"));
    assert.doesNotMatch(stderr, /^rounding/m);
    assert.deepEqual(namesIn(current), FILES);
  });

  it(
    `says that the disk is full, leaves no file, and finishes when there is space${skip ? `: ${skip}` : ""}`,
    {
      skip: skip !== false,
    },
    async () => {
      await using disk = await mountSmallDisk(`${folder}/disk`, 1 << 20);
      const out = ["--out", `${disk.path}/m.gguf`];
      const { code, stderr } = await quantize("some/little", ...out);
      assert.equal(code, 4, stderr);
      assert.match(stderr, /^error: .*no space is left on the disk$/m);
      assert.ok(!namesIn(disk.path).includes("m.gguf"));
      await disk.resize(32 << 20);
      await succeeded(quantize("some/little", ...out));
      assertSame(await Deno.readFile(`${disk.path}/m.gguf`), EXPECTED);
    },
  );
});
