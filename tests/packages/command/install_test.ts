/**
 * Tests the npm package `pare-llm` as a new user gets it: installed from its tarball in an empty folder, with npx, with npm, globally, and
 * with `deno install`.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { VERSION } from "../../../src/protocol/version.ts";
import { installCommand, runIn } from "./installed_command.ts";

/** The time in which a command must print something, in milliseconds. */
const FIRST_OUTPUT_MS = 5000;

const PRUNE = [
  ...["prune", "model", "--calibration", "calibration.txt", "--samples", "4", "--seqlen", "64"],
  ...["--layers", "fc2", "--backend", "cpu"],
];
const LAYER = ["layer", "layer.safetensors", "--backend", "cpu"];

const { folder, tarball } = await installCommand();

/** Starts a program and returns the milliseconds until it prints. The program is then stopped. */
async function measureFirstOutput(args: readonly string[]): Promise<number> {
  const started = performance.now();
  const child = new Deno.Command("npx", {
    args: ["pare", ...args],
    cwd: folder,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const outputs = [child.stdout, child.stderr].map((stream) => stream.getReader());
  await Promise.race(outputs.map((output) => output.read()));
  const milliseconds = performance.now() - started;
  child.kill("SIGTERM");
  await child.status;
  await Promise.all(outputs.map((output) => output.cancel()));
  return milliseconds;
}

describe("the npm package pare-llm", () => {
  it("prunes a model in the user's folder with npx, and writes nothing else there", async () => {
    const { code, stdout, stderr } = await runIn(folder, ["npx", "pare", ...PRUNE, "--out", "runs/1/pruned"]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^pruned 294912 of 589824 weights in 4 layers, [^\n]+\nwrote runs\/1\/pruned\n$/);
    assert.match(
      stderr,
      /^pruning 4 layers of model\nno window is held out: [^\n]+\nwarning: [^\n]+\npruning 0\/4\n/,
    );
    assert.doesNotMatch(stderr, /Initialize|Download|Warning/);
    assert.deepEqual([...Deno.readDirSync(`${folder}/runs`)].map(({ name }) => name), ["1"]);
    assert.ok((await Deno.stat(`${folder}/runs/1/pruned/report.html`)).size > 10_000);
    const { ok } = JSON.parse(
      (await runIn(folder, ["npx", "pare", "verify", "runs/1/pruned", "--json"])).stdout,
    );
    assert.equal(ok, true);
  });

  it("brings a calibration text, and an evaluation text", async () => {
    const [, model, , , ...options] = PRUNE, text = ["--text", "pare", "--windows", "1"];
    const args = ["npx", "pare", "prune", model, ...options, ...text, "--out", "on-own-text"];
    const { code, stdout, stderr } = await runIn(folder, args);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^perplexity on pare \(1 windows of 64\)/m);
  });

  it("unpacks, evaluates, generates and sweeps", async () => {
    const text = ["--text", "evaluation.txt", "--windows", "1", "--seqlen", "32", "--backend", "cpu"];
    for (
      const words of [
        [...PRUNE, "--out", "packed", "--bits", "4", "--format", "pack-quantized", "--symmetric"],
        ["unpack", "packed", "--out", "dense"],
        ["eval", "model", "--compare", "dense", ...text],
        ["generate", "packed", "My fellow citizens", "--tokens", "3", "--backend", "cpu"],
        ["sweep", "model", ...PRUNE.slice(2, 8), ...text, "--methods", "magnitude", "--sparsities", "0.5"],
      ]
    ) {
      const { code, stderr } = await runIn(folder, [`${folder}/node_modules/.bin/pare`, ...words]);
      assert.equal(code, 0, `${words[0]}: ${stderr}`);
    }
  });

  it("runs from its tarball, and from a subfolder with paths relative to it", async () => {
    const { stdout } = await runIn(folder, [
      ...["npx", "--yes", `./${tarball.split("/").at(-1)}`],
      "--version",
    ]);
    assert.equal(stdout, `${VERSION}\n`);
    await Deno.mkdir(`${folder}/sub`);
    const args = [
      ...["npx", "pare", "layer"],
      ...["../layer.safetensors", "--out", "o.safetensors", "--backend", "cpu"],
    ];
    const { code, stderr } = await runIn(`${folder}/sub`, args);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.ok((await Deno.stat(`${folder}/sub/o.safetensors`)).isFile);
  });

  it("runs after npm install -g and after deno install -g, with the same bytes as from the repository", async () => {
    const results: Uint8Array[] = [];
    const install = [
      ...["npm", "install", "-g"],
      ...["--prefix", "global", "--silent", "--no-audit", tarball],
    ];
    assert.equal((await runIn(folder, install)).code, 0);
    const denoInstall = [
      ...[Deno.execPath(), "install", "-g", "--quiet", "--root", "deno-root", "-n", "pare"],
      ...["-A", "./global/lib/node_modules/pare-llm/bin/pare.mjs"],
    ];
    const { code, stderr } = await runIn(folder, denoInstall);
    assert.equal(code, 0, stderr);
    const path = `${Deno.execPath().replace(/\/deno$/, "")}:${Deno.env.get("PATH")}`;
    for (const program of ["global/bin/pare", "deno-root/bin/pare"]) {
      const out = program.replaceAll("/", "-");
      const run = await runIn(folder, [`${folder}/${program}`, ...LAYER, "--out", out], { PATH: path });
      assert.equal(run.code, 0, run.stderr);
      assert.match(run.stdout, /WebAssembly SIMD/);
      results.push(await Deno.readFile(`${folder}/${out}`));
    }
    const launcher = new URL("../../../scripts/launcher/pare.ts", import.meta.url).pathname;
    await runIn(folder, [Deno.execPath(), "run", "-A", launcher, ...LAYER, "--out", "repository"]);
    results.push(await Deno.readFile(`${folder}/repository`));
    assert.deepEqual(results[0], results[1]);
    assert.deepEqual(results[0], results[2]);
  });

  it("serves the pages at /docs from the package", async () => {
    const child = new Deno.Command(`${folder}/node_modules/.bin/pare`, {
      args: ["serve", "--port", "0", "--json", "--backend", "cpu"],
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { url } = JSON.parse((await reader.read()).value!);
    const script = await fetch(`${url}/docs/scalar.js`);
    assert.equal(script.status, 200);
    assert.ok((await script.text()).length > 1e6);
    child.kill("SIGTERM");
    assert.equal((await child.status).code, 0);
    await reader.cancel();
  });

  it("passes the exit codes on", async () => {
    const pare = `${folder}/node_modules/.bin/pare`;
    const codeOf = async (...args: string[]) => (await runIn(folder, [pare, ...args])).code;
    assert.equal(await codeOf("--version"), 0);
    assert.equal(await codeOf("layer", "--nonsense"), 2);
    assert.equal(await codeOf("verify", "sub"), 3);
    await using other = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen: () => {} },
      () => new Response(),
    );
    assert.equal(await codeOf("serve", "--port", String(other.addr.port), "--backend", "cpu"), 4);
  });

  for (const args of [["--help"], [...PRUNE, "--out", "first"]]) {
    it(`prints something within 5 s of npx pare ${args[0]}`, async () => {
      const milliseconds = await measureFirstOutput(args);
      assert.ok(milliseconds < FIRST_OUTPUT_MS, `${milliseconds} ms`);
    });
  }
});
