/** Tests what commands print: nothing raw from a checkpoint, no cursor codes for a dumb terminal, and no result into a closed output. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { LineProgress } from "../../src/cli/terminal/output.ts";
import { runPare, runPareWith } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const NOT_LINUX = Deno.build.os !== "linux" &&
  "closed outputs are found on Linux only, and `script` has other options elsewhere";
const NAME = "evil\x1b[2J\x9b31m\x07\u202e\r.weight";
// deno-lint-ignore no-control-regex
const RAW = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/;

const folder = temporaryFolder();
const tensor = { dtype: "F32", shape: [1, 2], data: new Uint8Array(8).fill(0xff) } as const;
await Deno.writeFile(`${folder}/model.safetensors`, encode({ [NAME]: tensor }));
await Deno.writeTextFile(
  `${folder}/config.json`,
  JSON.stringify({ model_type: "\x1b]0;title\x07\n\u202e" }),
);

/** Runs a command line of the shell, in which `pare` starts the program. */
async function shell(line: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const pare = `${Deno.execPath()} run -A --quiet ${MAIN}`, decoder = new TextDecoder();
  const command = new Deno.Command("bash", {
    args: ["-c", line.replaceAll(/\bpare (?=verify)/g, `${pare} `)],
    cwd: folder,
  });
  const { code, stdout, stderr } = await command.output();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

describe("a name from a checkpoint", () => {
  it("is printed without its control characters, in tables, progress and errors", async () => {
    for (const json of [[], ["--json"]]) {
      const { code, stdout, stderr } = await runPare("verify", folder, ...json);
      assert.equal(code, 3, stderr);
      assert.match(
        stdout,
        /evil\\u001b\[2J\\u009b31m\\u0007\\u202e\\u000d|evil\\u001b\[2J\\u009b31m\\u0007\\u202e\\r/,
      );
      assert.match(stderr, /error: .*evil\\u001b\[2J/);
      assert.doesNotMatch(stdout + stderr, RAW);
      if (json.length > 0) assert.equal(JSON.parse(stdout).tensors[0].name, NAME);
    }
  });

  it("is printed without its control characters if it comes from config.json, and in a stack trace", async () => {
    const { code, stderr } = await runPare("eval", folder, "--text", MAIN, "--backend", "cpu", "--debug");
    assert.equal(code, 3);
    assert.match(stderr, /model_type/);
    assert.doesNotMatch(stderr, RAW);
  });
});

describe("--json with a standard output that does not work", { skip: NOT_LINUX }, () => {
  it("is refused before any work if the output is closed", async () => {
    const { code, stderr } = await shell("pare verify . --json >&-");
    assert.deepEqual([code, stderr], [
      2,
      "error: option --json: standard output is closed, so the result cannot be printed\n",
    ]);
  });

  it("is refused through the launcher too", async () => {
    const launcher = fileURLToPath(new URL("../../scripts/launcher/pare.ts", import.meta.url));
    const { code, stderr } = await shell(`${Deno.execPath()} run -A --quiet ${launcher} verify . --json >&-`);
    assert.deepEqual([code, stderr], [
      2,
      "error: option --json: standard output is closed, so the result cannot be printed\n",
    ]);
  });

  it("is allowed with /dev/null", async () => {
    const { code, stderr } = await shell("pare verify . --json >/dev/null");
    assert.equal(code, 3, stderr); // the model has weights that are NaN
    assert.match(stderr, /NaN or infinite/);
  });

  it("exits with 4 if the disk is full", async () => {
    const { code, stderr } = await shell(`pare verify ${OPT_SOTU} --json >/dev/full`);
    assert.equal(code, 4);
    assert.match(stderr, /\nerror: standard output: no space is left on the disk\n$/);
  });
});

describe("progress on a terminal", { skip: NOT_LINUX }, () => {
  for (const [term, expected] of [["xterm", true], ["dumb", false]] as const) {
    it(`${expected ? "is a bar that moves the cursor" : "is lines"} if TERM is ${term}`, async () => {
      const { stdout } = await shell(`TERM=${term} script -qec "pare verify ${OPT_SOTU}" /dev/null`);
      assert.ok(stdout.includes("model.decoder.embed_tokens.weight"), stdout);
      assert.equal(stdout.includes("\x1b["), expected, JSON.stringify(stdout.slice(0, 200)));
    });
  }
});

describe("progress on a narrow terminal", { skip: NOT_LINUX }, () => {
  it("leaves the last column free, and shows that a long name was cut", async () => {
    const line = `stty cols 70; pare verify ${OPT_SOTU}`;
    const { stdout } = await shell(`TERM=xterm script -qec "bash -c '${line}'" /dev/null`);
    // deno-lint-ignore no-control-regex
    const frames = stdout.split(/\x1b\[[0-9;?]*[A-Za-z]/).filter((frame) => frame.startsWith("verifying "));
    assert.ok(frames.some((frame) => frame.endsWith("…")), JSON.stringify(frames));
    for (const frame of frames) assert.ok(frame.length < 70, frame);
  });
});

describe("a run that only rounds", () => {
  it("does not speak of zeros, of pruning or of powers", async () => {
    await Deno.writeTextFile(`${folder}/text.txt`, "We the people of this great nation. ".repeat(40));
    const words = [
      "--calibration",
      `${folder}/text.txt`,
      "--samples",
      "2",
      "--seqlen",
      "32",
      "--layers",
      "fc2",
    ];
    const rounding = ["--sparsity", "0", "--bits", "4", "--backend", "cpu"], out = `${folder}/rounded`;
    const { stdout, stderr } = await runPare("prune", OPT_SOTU, "--out", out, ...words, ...rounding);
    assert.match(stdout, /^rounded 589824 weights in 4 layers to 4 bits, /, stderr);
    for (const page of ["report.html", "README.md"]) {
      const text = await Deno.readTextFile(`${out}/${page}`);
      assert.match(text, /The weights of 4 layers in 4 blocks are rounded to 4 bits\./);
      assert.doesNotMatch(text, /weights are zero|layers are zero|2\^4|after pruning/);
    }
  });
});

describe("progress in a log", () => {
  it("is the first step, the last, and one line every ten seconds between them", () => {
    const lines: string[] = [];
    let seconds = 0;
    const progress = new LineProgress((line) => lines.push(line), "pruning", 10, undefined, () => seconds);
    progress.note("before the first step");
    for (let done = 0; done <= 25; done++, seconds++) {
      progress.step(done, 25, `layer ${done}`);
      progress.note(`calibrating ${done}`);
    }
    assert.deepEqual(lines, [
      "pruning 0/25 layer 0",
      "pruning 10/25 layer 10",
      "pruning 20/25 layer 20",
      "pruning 25/25 layer 25",
    ]);
  });

  it("is at most one line every minute in a long run", () => {
    const lines: string[] = [];
    let seconds = 0;
    const progress = new LineProgress((line) => lines.push(line), "pruning", 10, undefined, () => seconds);
    for (let done = 0; done <= 720; done++, seconds += 5) progress.step(done, 720);
    assert.ok(lines.length < 85, `${lines.length} lines in an hour`);
    assert.deepEqual(lines.slice(0, 3), ["pruning 0/720", "pruning 2/720", "pruning 4/720"]);
  });

  it("shows the work between two steps that take long", () => {
    const lines: string[] = [];
    let seconds = 0;
    const progress = new LineProgress((line) => lines.push(line), "pruning", 10, undefined, () => seconds);
    progress.step(0, 2);
    for (; seconds < 25; seconds++) progress.note(`calibrating ${seconds}/40`);
    assert.deepEqual(lines, [
      "pruning 0/2",
      "pruning 0/2 calibrating 10/40",
      "pruning 0/2 calibrating 20/40",
    ]);
  });

  it("is two lines for a command that takes a moment, unless PARE_PROGRESS_SECONDS is 0", async () => {
    const { stderr } = await runPareWith({ PARE_PROGRESS_SECONDS: "60" }, "verify", OPT_SOTU);
    assert.match(stderr, /^verifying 1\/\d+ \S+\nverifying (\d+)\/\1 \S+\n$/);
    const every = await runPareWith({ PARE_PROGRESS_SECONDS: "0" }, "verify", OPT_SOTU);
    assert.ok(every.stderr.split("\n").length > 40, every.stderr);
    const wrong = await runPareWith({ PARE_PROGRESS_SECONDS: "ten" }, "verify", OPT_SOTU);
    assert.deepEqual([wrong.code, wrong.stderr], [
      2,
      "error: the environment variable PARE_PROGRESS_SECONDS ten: must be a number of seconds from 0 on\n",
    ]);
  });
});
