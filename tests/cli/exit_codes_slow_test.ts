/**
 * Tests the exit codes of processes, for example after a stop signal or with a full disk. `exit_test.ts` tests how errors are classified.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { startHost } from "../../scripts/processes/child_host.ts";
import { freePort } from "../../scripts/processes/child_edge.ts";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { assertSame } from "../support/assert_same.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { mountSmallDisk, smallDiskSkip } from "../support/small_disk.ts";
import { problem } from "../client/fake_host.ts";
import { serveLoopback } from "../support/serve_loopback.ts";
import { actDuring, runPare, runPareWith, startPare, succeeded, words } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const LAYER = new URL("../fixtures/layers/layer.safetensors", import.meta.url).pathname;
const NO_SMALL_DISK = await smallDiskSkip();
const IS_WINDOWS = Deno.build.os === "windows";

const folder = temporaryFolder();
const text = (await writeSotuTexts(folder)).calibration;

function pruneArgs(model: string, out: string, ...options: readonly string[]): string[] {
  const windows = ["--method", "magnitude", "--samples", "2", "--seqlen", "32", "--backend", "cpu"];
  return ["prune", model, "--out", out, "--calibration", text, ...windows, ...options];
}

/** Runs `pare ARGS --json`, which must fail. Returns the kind and the message, and checks that they agree with the exit code. */
async function failure(
  ...args: readonly string[]
): Promise<{ kind: string; message: string; code?: string }> {
  const { code, stdout, stderr } = await runPare(...args, "--json");
  const { error } = JSON.parse(stdout.trimEnd().split("\n").at(-1)!);
  assert.equal(error.exit_code, code);
  assert.ok(stderr.includes(`error: ${error.message}`), stderr);
  return error;
}

describe("the exit code", () => {
  for (
    const [signal, expected] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGUSR1", 143], [
      "SIGUSR2",
      143,
    ]] as const
  ) {
    it(
      `is ${expected} if ${signal} stops the command`,
      { skip: IS_WINDOWS && "Windows has only SIGINT" },
      async () => {
        const child = startPare(
          ...pruneArgs(OPT_SOTU, `${folder}/${signal}`, "--samples", "64", "--method", "sparsegpt"),
        );
        const isPruning = (printed: string) => printed.includes("pruning 1/");
        const { code, stderr } = await actDuring(child, isPruning, () => child.kill(signal));
        assert.equal(code, expected, stderr);
        assert.match(stderr, new RegExp(`error: stopped by ${signal}\n$`));
      },
    );
  }

  it("is 2 for everything on the command line that does not exist, before any work", async () => {
    const absent = `${folder}/absent`, out = ["--out", `${folder}/none`];
    for (
      const [named, ...args] of [
        ["model", ...pruneArgs(absent, `${folder}/none`)],
        ["model", "verify", absent],
        ["model", "eval", absent, "--text", text, "--backend", "cpu"],
        ["model", "eval", OPT_SOTU, "--compare", absent, "--text", text, "--seqlen", "32", "--windows", "1"],
        ["model", "sweep", absent, "--text", text, "--calibration", text, "--sparsities", "0.5"],
        ["model", "unpack", absent, ...out],
        ["model", "export", absent, "--format", "gguf:f16", ...out],
        ["folder", "report", absent],
        ["argument", "layer", absent, ...out],
        ["option --calibration", ...pruneArgs(OPT_SOTU, `${folder}/none`, "--calibration", absent)],
        ["option --text", ...pruneArgs(OPT_SOTU, `${folder}/none`, "--text", absent)],
        ["option --profile", ...pruneArgs(OPT_SOTU, `${folder}/none`, "--profile", absent)],
      ]
    ) {
      const { kind, message } = await failure(...args);
      assert.deepEqual([kind, message], ["usage", `${named} ${absent}: there is no such file or folder`]);
    }
  });

  it("is 3 for a configuration that does not describe the tensors of its checkpoint, before any work", async () => {
    const model = `${folder}/deeper`;
    await cp(OPT_SOTU, model, { recursive: true });
    const config = JSON.parse(await Deno.readTextFile(`${model}/config.json`));
    for (const num_hidden_layers of [3, 5]) {
      await Deno.writeTextFile(`${model}/config.json`, JSON.stringify({ ...config, num_hidden_layers }));
      const { kind, message } = await failure(...pruneArgs(model, `${folder}/none`));
      assert.deepEqual([kind, message.startsWith(`${model}: `)], ["refused", true], message);
      await assert.rejects(Deno.stat(`${folder}/none`), Deno.errors.NotFound);
    }
  });

  it("is 3 for a model whose family is not supported", async () => {
    const model = `${folder}/unknown`;
    await Deno.mkdir(model);
    await Deno.writeTextFile(`${model}/config.json`, '{"model_type": "mamba"}');
    await Deno.copyFile(`${OPT_SOTU}/model.safetensors`, `${model}/model.safetensors`);
    const { kind, message } = await failure(...pruneArgs(model, `${folder}/none`));
    assert.equal(kind, "refused");
    assert.match(message, /unknown: .*mamba/);
  });

  it("is 3 for JSON files of a checkpoint that are longer than their limit, which are not read", async () => {
    for (
      const [name, limit, ...words] of [
        ["config.json", 16 << 20, "verify"],
        ["model.safetensors.index.json", 64 << 20, "verify"],
        ["pare.json", 256 << 20, "verify"],
        ["special_tokens_map.json", 128 << 20, "eval", "--text", text, "--backend", "cpu"],
        ["tokenizer.json", 128 << 20, "eval", "--text", text, "--backend", "cpu"],
        ["merges.txt", 128 << 20, "eval", "--text", text, "--backend", "cpu"],
      ] as const
    ) {
      const model = `${folder}/long-${name}`;
      await cp(OPT_SOTU, model, { recursive: true });
      if (name === "merges.txt") {
        await Deno.remove(`${model}/tokenizer.json`);
        await Deno.writeTextFile(`${model}/vocab.json`, "{}");
      }
      if (name.includes("index")) await Deno.remove(`${model}/model.safetensors`);
      await Deno.writeFile(`${model}/${name}`, new Uint8Array(), { append: true });
      await Deno.truncate(`${model}/${name}`, limit + 1);
      const [command, ...options] = words;
      const { kind, message } = await failure(command, model, ...options);
      const length = `has ${limit + 1} bytes, but a file of its kind may have at most ${limit}`;
      assert.deepEqual([kind, message], ["refused", `${model}/${name}: ${length}`]);
    }
  });

  it("is 3 for a key that the host does not accept, and the message names the code of the answer", async () => {
    await using host = await startHost(["--backend", "cpu"], { PARE_KEYS: "0".repeat(64) });
    const args = ["layer", LAYER, "--out", `${folder}/none`, "--server", host.url, "--api-key", "wrong"];
    const { kind, code, message } = await failure(...args);
    assert.deepEqual([kind, code], ["refused", "unauthorized"]);
    assert.match(message, /^unauthorized \(401\)/);
  });

  it("is 2 for jobs at a host, which has none", async () => {
    await using host = serveLoopback(problem(404, "not_found"));
    const { url } = host, rule = `${url} has no jobs, because it is a host, not an edge`;
    for (
      const [option, ...args] of [
        ["--server", "jobs", "list", "--server", url],
        ["--jobs", ...pruneArgs(OPT_SOTU, `${folder}/none`, "--server", url, "--jobs")],
      ]
    ) {
      const { kind, message } = await failure(...args);
      assert.deepEqual([kind, message], ["usage", `option ${option}: ${rule}`]);
    }
  });

  it("is 4 for hosts that cannot be reached, after a retry that is announced with the cause", async () => {
    const url = `http://127.0.0.1:${freePort()}`;
    const { code, stderr } = await runPare(
      ...pruneArgs(OPT_SOTU, `${folder}/unreachable`, "--server", url, "--server", url),
    );
    assert.equal(code, 4, stderr);
    const [, second] = stderr.split("\n");
    assert.match(second, new RegExp(`^${url}: connection refused; trying again in [\\d.]+ m?s$`));
    assert.match(stderr, new RegExp(`\nerror: ${url}: connection refused\n$`));
    await assert.rejects(Deno.stat(`${folder}/unreachable`), Deno.errors.NotFound);
  });

  it("is 4 for a host that is busy for longer than the client waits", async () => {
    await using host = serveLoopback(problem(429, "busy", { "Retry-After": "3600" }));
    const { kind, code } = await failure("layer", LAYER, "--out", `${folder}/none`, "--server", host.url);
    assert.deepEqual([kind, code], ["try_again", "busy"]);
  });

  it(
    "is 4 if the disk is full, and the same command continues when there is space",
    { skip: NO_SMALL_DISK },
    async () => {
      await using disk = await mountSmallDisk(`${folder}/disk`, 2 << 20);
      const args = pruneArgs(OPT_SOTU, `${disk.path}/out`);
      const { kind, message } = await failure(...args);
      assert.equal(kind, "try_again");
      assert.match(message, /disk\/out\/.*: no space is left on the disk$/);
      await disk.resize(64 << 20);
      await succeeded(runPare(...args));
    },
  );

  it("is 4 if a result does not fit on the disk", { skip: NO_SMALL_DISK }, async () => {
    await using disk = await mountSmallDisk(`${folder}/full`, 8192);
    const out = `${disk.path}/layer.safetensors`;
    const { kind, message } = await failure("layer", LAYER, "--out", out, "--backend", "cpu");
    assert.deepEqual([kind, message], ["try_again", `${out}.partial: no space is left on the disk`]);
  });

  it("is 2 for an output file that is one of the inputs, which stays as it is", async () => {
    const model = `${folder}/read`, layer = `${folder}/read.safetensors`, words = `${folder}/read.txt`;
    await cp(OPT_SOTU, model, { recursive: true });
    await Deno.copyFile(LAYER, layer);
    await Deno.copyFile(text, words);
    const weights = `${model}/model.safetensors`;
    const sweep = ["sweep", OPT_SOTU, "--calibration", words, "--text", text, "--sparsities", "0.5"];
    for (
      const [option, file, ...args] of [
        ["--out", layer, "layer", layer],
        ["--out", weights, "export", model, "--format", "gguf:f16"],
        ["--csv", words, ...sweep],
        ["--svg", words, ...sweep],
      ]
    ) {
      const before = await Deno.readFile(file), { kind, message } = await failure(...args, option, file);
      const rule =
        `option ${option} ${file}: would replace ${file}, which the command reads; write to another file`;
      assert.deepEqual([kind, message], ["usage", rule]);
      assertSame(await Deno.readFile(file), before);
    }
    const { message } = await failure(...sweep, "--csv", `${folder}/points`, "--svg", `${folder}/./points`);
    assert.match(message, /^option --svg .*: would replace the file of --csv; write to another file$/);
  });

  it("is 2 for an output that cannot be written, before any work", async () => {
    const file = `${folder}/file`;
    await Deno.writeTextFile(file, "");
    for (const args of [pruneArgs(OPT_SOTU, `${file}/out`), ["layer", LAYER, "--out", `${file}/out`]]) {
      const { kind, message } = await failure(...args);
      assert.equal(kind, "usage");
      assert.match(message, /^option --out .*file\/out: cannot be written: .*is not a folder/);
    }
    const { kind, message } = await failure("layer", LAYER, "--out", folder);
    assert.deepEqual([kind, message], ["usage", `option --out ${folder}: is a folder, not a file`]);
  });

  it("is 2 for a mistake that commander finds, and --json prints it too", async () => {
    const { kind, message } = await failure("unpack", "model");
    assert.deepEqual([kind, message], ["usage", "required option '--out <folder>' not specified"]);
  });

  it("is 3 if the requested backend is missing", async () => {
    const env = { DENO_WEBGPU_BACKEND: Deno.build.os === "windows" ? "vulkan" : "dx12" }; // not on this system
    const { code, stderr } = await runPareWith(
      env,
      ...words`layer ${LAYER} --out ${folder}/none --backend webgpu`,
    );
    assert.equal(code, 3, stderr);
    assert.match(stderr, /error: option --backend webgpu: /);
  });
});

describe("the default server", () => {
  it("is PARE_SERVER, which --server local overrides", async () => {
    const env = { PARE_SERVER: `http://127.0.0.1:${freePort()}` };
    const args = pruneArgs(OPT_SOTU, `${folder}/default`, "--max-layer", "1");
    await succeeded(runPareWith(env, ...args, "--server", "local"));
    const twice = await runPareWith(
      env,
      ...words`${args} --overwrite --server local --server ${env.PARE_SERVER}`,
    );
    assert.equal(twice.code, 2);
    assert.match(twice.stderr, /option --server local: cannot be combined with other servers/);
    const child = await runPareWith({ PARE_SERVER: "here" }, ...args);
    assert.equal(child.code, 2);
    assert.match(child.stderr, /from env 'PARE_SERVER' is invalid/);
  });

  it("is used by layer, and prints that the connection is refused", async () => {
    await using host = serveLoopback(problem(403, "forbidden"));
    const { code, stderr } = await runPareWith(
      { PARE_SERVER: host.url },
      "layer",
      LAYER,
      "--out",
      `${folder}/none`,
    );
    assert.deepEqual([code, stderr], [3, "error: forbidden (403): detail of forbidden\n"]);
  });
});
