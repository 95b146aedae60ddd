/** Tests `pare prune` with several calibration texts and with held-out windows. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { runReportSchema } from "../../src/prune/report/run_report.ts";
import { ownText } from "../../src/prune/texts/own_text.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { type Finished, runPare, succeeded } from "./run_pare.ts";

const folder = temporaryFolder();
await writeSotuTexts(folder);

function prune(out: string, texts: readonly string[], ...options: readonly string[]): Promise<Finished> {
  return runPare(
    ...["prune", OPT_SOTU, "--out", `${folder}/${out}`, "--method", "sparsegpt", "--max-layer", "1"],
    ...texts.flatMap((text) => ["--calibration", `${folder}/${text}`]),
    ...["--seqlen", "32", "--backend", "cpu", ...options],
  );
}

async function report(out: string) {
  return runReportSchema.parse(JSON.parse(await Deno.readTextFile(`${folder}/${out}/pare.json`)));
}

function weights(out: string): Promise<Uint8Array> {
  return Deno.readFile(`${folder}/${out}/model.safetensors`);
}

const MIXED = ["calibration.txt=3", "evaluation.txt"];

describe("pare prune with several calibration texts", () => {
  it("names the texts, their shares and the held-out windows in the report and the fingerprint", async () => {
    await succeeded(prune("mixed", MIXED, "--samples", "16"));
    const { calibration, command, fingerprint, blocks, layers } = await report("mixed");
    assert.deepEqual(blocks?.map(({ block }) => block), [0]);
    assert.ok(blocks![0].error! > 0 && blocks![0].error! < 1);
    assert.ok(layers.every(({ validation_error }) => validation_error! > 0));
    assert.deepEqual(calibration, {
      text: "calibration.txt=3, evaluation.txt=1",
      digest: fingerprint!["the calibration text"],
      samples: 16,
      validation_samples: 2,
      seqlen: 32,
      seed: null,
    });
    assert.match(
      command!,
      /--calibration calibration.txt=3 --calibration evaluation.txt=1 --samples 16 --validation 0.125/,
    );
    assert.match(
      fingerprint!["the calibration text"],
      /^sha256:[0-9a-f]{64}, share 3; sha256:[0-9a-f]{64}, share 1$/,
    );
  });

  it("finds another run if a share or the held-out share differs", async () => {
    for (
      const [texts, validation, difference] of [
        [["calibration.txt=2", "evaluation.txt"], "0.125", /the calibration text was .*share 3/],
        [MIXED, "0.25", /--validation was 0.125 and is 0.25/],
      ] as const
    ) {
      const { code, stderr } = await prune("mixed", texts, "--samples", "16", "--validation", validation);
      assert.notEqual(code, 0);
      assert.match(stderr, difference);
    }
  });

  it("does not fit held-out windows", async () => {
    for (const [out, validation] of [["eighth", "0.125"], ["none", "0"]]) {
      await succeeded(prune(
        out,
        ["calibration.txt"],
        "--samples",
        "8",
        "--validation",
        validation,
      ));
    }
    assert.notDeepEqual(await weights("eighth"), await weights("none"));
    const { calibration } = await report("none");
    assert.deepEqual([calibration.text, calibration.validation_samples], ["calibration.txt", 0]);
  });

  it("says that no window is held out if there are too few", async () => {
    const { stderr } = await succeeded(prune("few", ["calibration.txt"], "--samples", "7"));
    assert.match(stderr, /^no window is held out: --validation 0.125 needs at least 8 --samples$/m);
  });

  it("refuses to choose a damping without held-out windows", async () => {
    const { code, stderr } = await prune("auto", ["calibration.txt"], "--samples", "7", "--damping", "auto");
    assert.equal(code, 2, stderr);
    assert.match(stderr, /option --damping auto: .*weight: held-out windows choose it/);
  });

  for (
    const [texts, options, message] of [
      [MIXED, ["--samples", "1"], /option --samples 1: has fewer windows than the 2 texts of --calibration/],
      [
        ["calibration.txt=0"],
        [],
        /option --calibration .*calibration.txt=0: the share of a text must be larger than 0/,
      ],
      [["calibration.txt"], ["--validation", "0.6"], /It must be a number from 0 to 0.5/],
    ] as const
  ) {
    it(`refuses ${[...texts, ...options].join(" ")}`, async () => {
      const { code, stderr } = await prune("refused", texts, ...options);
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
    });
  }
});

describe("pare prune without --calibration", () => {
  it("calibrates on the text that comes with Pare, and names it and its digest in the report", async () => {
    await succeeded(prune("own", [], "--samples", "8", "--text", "pare", "--windows", "2"));
    const { calibration, command, perplexity, fingerprint } = await report("own");
    const digest = `sha256:${
      createHash("sha256").update(await Deno.readFile(ownText("calibration").path)).digest("hex")
    }`;
    assert.deepEqual([calibration.text, calibration.digest], ["pare", digest]);
    assert.equal(fingerprint!["the calibration text"], digest);
    assert.match(command!, /--calibration pare --samples 8 .*--text pare /);
    assert.deepEqual(perplexity.map(({ text, windows }) => [text, windows]), [["pare", 2]]);
  });

  it("has windows of 512 tokens, and is the same run with --calibration pare", async () => {
    const args = ["prune", OPT_SOTU, "--out", `${folder}/named`, "--samples", "4"];
    const options = ["--method", "magnitude", "--max-layer", "1", "--backend", "cpu"];
    await succeeded(runPare(...args, ...options));
    assert.equal((await report("named")).calibration.seqlen, 512);
    const { stderr } = await succeeded(runPare(...args, ...options, "--calibration", "pare"));
    assert.match(stderr, /this run is finished already/);
  });

  it("says how many tokens there are if more are asked for", async () => {
    const { code, stderr } = await prune("long", [], "--samples", "100000");
    assert.equal(code, 3);
    assert.match(
      stderr,
      /has \d+ tokens, but 100000 windows of 32 need 3200000; lower --samples or --seqlen/,
    );
  });
});
