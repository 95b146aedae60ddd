/**
 * Tests that every command of the installed package works with the permissions that its launcher gives it, and that code in the place of the
 * program could use nothing else with these permissions.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { realPath } from "../../../scripts/launcher/deno_arguments.ts";
import { permissionFlags } from "../../../src/cli/permissions/permission_flags.ts";
import { serveHub } from "../../model/hub/fake_hub.ts";
import { serveWritableHub, TOKEN } from "../../support/writable_hub.ts";
import { type Ended, installCommand, runIn } from "./installed_command.ts";

const CALIBRATION = [
  ...["--calibration", "calibration.txt", "--samples", "2"],
  ...["--seqlen", "32", "--backend", "cpu"],
];
const PRUNE = [...CALIBRATION, "--layers", "fc2", "--method", "magnitude"];

const { folder } = await installCommand();

/** Runs the installed command in the user's folder. */
function pare(words: readonly string[], env?: Record<string, string>): Promise<Ended> {
  return runIn(folder, [`${folder}/node_modules/.bin/pare`, ...words], env);
}

/** Runs a command, which must succeed. */
async function pareOk(words: readonly string[], env?: Record<string, string>): Promise<string> {
  const { code, stdout, stderr } = await pare(words, env);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** Serves on a free port of the loopback interface, and records the requests. */
function serveRecorder(answer: (request: Request) => Response) {
  const requests: string[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
    requests.push(`${request.method} ${new URL(request.url).pathname}`);
    return answer(request);
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    requests,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

describe("with least permissions", () => {
  it("works: prune with a profile and an evaluation, verify, eval, generate, pack, unpack and report", async () => {
    await Deno.writeTextFile(`${folder}/profile.json`, '[{"match":"*.0.fc2","sparsity":0.25}]');
    await Deno.copyFile(new URL("../../fixtures/tasks/piqa.jsonl", import.meta.url), `${folder}/piqa.jsonl`);
    const text = ["--text", "evaluation.txt", "--windows", "1"];
    await pareOk([
      ...["prune", "model", "--out", "new/p"],
      ...PRUNE,
      "--profile",
      "profile.json",
      ...text,
      "--activations",
      "disk",
    ]);
    await pareOk(["verify", "new/p"]);
    const evaluation = ["--seqlen", "32", "--backend", "cpu", "--task", "piqa=piqa.jsonl", ...text];
    await pareOk(["eval", "model", "--compare", "new/p", ...evaluation]);
    await pareOk(["generate", "new/p", "My fellow citizens", "--tokens", "3", "--backend", "cpu"]);
    const format = ["--bits", "4", "--format", "pack-quantized"];
    await pareOk(["prune", "model", "--out", "packed/p", ...PRUNE, ...format]);
    await pareOk(["unpack", "packed/p", "--out", "dense/p"]);
    await pareOk(["report", "new/p"]);
    await pareOk(["report", "new/p", "--out", "page.html"]);
  });

  it("works: prune for llama.cpp, and export to a file and to a folder", async () => {
    const model = new URL("../../fixtures/models/llama-sotu", import.meta.url);
    await cp(model, `${folder}/llama`, { recursive: true });
    const options = [...CALIBRATION, "--sparsity", "0", "--method", "sparsegpt", "--for", "gguf:q4_0"];
    await pareOk(["prune", "llama", "--out", "rounded", ...options]);
    await pareOk(["export", "rounded", "--format", "gguf:q8_0", "--out", "rounded.gguf"]);
    await pareOk(["export", "rounded", "--format", "gptq", "--out", "new/gptq"]);
  });

  it("works: sweep with a table and a chart", async () => {
    const text = [
      ...["--text", "evaluation.txt", "--windows", "1"],
      ...["--methods", "magnitude", "--sparsities", "0.5"],
    ];
    await pareOk(["sweep", "model", ...CALIBRATION, ...text, "--csv", "s.csv", "--svg", "s.svg"]);
    assert.match(await Deno.readTextFile(`${folder}/s.svg`), /<svg/);
  });

  it("works: layer on both backends", async () => {
    for (const backend of ["cpu", "auto"]) {
      await pareOk(["layer", "layer.safetensors", "--out", `${backend}.safetensors`, "--backend", backend]);
    }
  });

  it("works: serve, which registers at its edge, and layer, prune and jobs with a server", async () => {
    await using edge = serveRecorder(() => new Response("{}", { status: 404 }));
    const host = new Deno.Command(`${folder}/node_modules/.bin/pare`, {
      args: ["serve", "--port", "0", "--json", "--backend", "cpu"],
      env: { PARE_EDGE: edge.url, PARE_BLOB_ORIGINS: edge.url, EDGE_HOST_SECRET: "s".repeat(32) },
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = host.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { url } = JSON.parse((await reader.read()).value!);
    await pareOk(["layer", "layer.safetensors", "--out", "remote.safetensors", "--server", url]);
    await pareOk(["prune", "model", "--out", "remote", ...PRUNE], { PARE_SERVER: url });
    const { code, stderr } = await pare(["jobs", "list", "--server", url]);
    const message = `error: option --server: ${url} has no jobs, because it is a host and no edge\n`;
    assert.deepEqual([code, stderr], [2, message]);
    assert.match(edge.requests.join(), /PUT \/v1\/hosts\//);
    host.kill("SIGTERM");
    await host.status;
    await reader.cancel();
  });

  it("works: a model of the hub, which is downloaded to the cache", async () => {
    const files: Record<string, Uint8Array<ArrayBuffer>> = {};
    for await (const { name } of Deno.readDir(`${folder}/model`)) {
      files[name] = await Deno.readFile(`${folder}/model/${name}`);
    }
    const commit = "3".repeat(40);
    await using hub = serveHub({ repo: "some/model", revisions: { main: commit }, files });
    const env = { HF_HOME: `${folder}/hf`, HF_ENDPOINT: hub.url };
    const words = ["eval", "hf:some/model", "--text", "evaluation.txt", "--windows", "1", "--seqlen", "32"];
    await pareOk([...words, "--backend", "cpu"], env);
    await pareOk([...words, "--backend", "cpu"], { ...env, HF_HUB_OFFLINE: "1" });
    await pareOk(["verify", `hf/hub/models--some--model/snapshots/${commit}`]);
  });

  it("works: push to the hub", async () => {
    await using hub = serveWritableHub();
    await pareOk(["push", "new/p", "me/model"], { HF_ENDPOINT: hub.url, HF_TOKEN: TOKEN });
    assert.equal(hub.repositories.get("me/model")!.commits.length, 1);
  });

  it("refuses a checkpoint whose files are links to other folders", async () => {
    await Deno.mkdir(`${folder}/secret`);
    await Deno.rename(`${folder}/model`, `${folder}/secret/model`);
    await Deno.mkdir(`${folder}/model`);
    for await (const { name } of Deno.readDir(`${folder}/secret/model`)) {
      await Deno.symlink(`../secret/model/${name}`, `${folder}/model/${name}`);
    }
    const { code, stdout } = await pare(["verify", "model", "--json"]);
    const { error } = JSON.parse(stdout);
    assert.deepEqual([code, error.kind], [3, "refused"]);
    assert.match(error.message, /: is a link to \S*\/secret\/model\/\S+, outside of the folder of the model/);
    await Deno.remove(`${folder}/model`, { recursive: true });
    await Deno.rename(`${folder}/secret/model`, `${folder}/model`);
  });

  it("refuses an output in a folder of the operating system as a bad path", {
    skip: Deno.build.os !== "linux" && "only Linux has /proc",
  }, async () => {
    const refused = "/proc/x: lies in a folder of the operating system, which a command may not use";
    const { code, stderr } = await pare(["prune", "model", "--out", "/proc/x", ...PRUNE]);
    assert.deepEqual([code, stderr], [2, `error: option --out /proc/x: cannot be written: ${refused}\n`]);
    const layer = await pare(["layer", "layer.safetensors", "--out", "/proc/x"]);
    assert.deepEqual([layer.code, layer.stderr], [code, stderr]);
    const text = await pare(["eval", "model", "--text", "/proc/self/environ"]);
    assert.equal(text.code, 2);
  });

  it("does not upload to another server that an edge names, and names the option that permits it", async () => {
    await using other = serveRecorder(() => new Response());
    await using server = serveRecorder(({ url }) => {
      const { pathname } = new URL(url);
      if (pathname === "/v1/layers") {
        return Response.json({ code: "too_large", uploads: `${server.url}/v1/uploads` }, { status: 413 });
      }
      if (pathname !== "/v1/uploads") return new Response(null, { status: 404 });
      const parts = [{ number: 1, url: `${other.url}/part` }];
      return Response.json({ upload: "u", part_size: 2 ** 26, parts, expires: "2030-01-01T00:00:00Z" });
    });
    const words = ["layer", "layer.safetensors", "--out", "uploaded", "--server", server.url];
    const { code, stderr } = await pare(words);
    const address = other.url.slice("http://".length);
    assert.deepEqual([code, stderr], [
      2,
      `error: connecting to ${address} is not permitted, because the command line does not name it; ` +
      `add --allow-net ${address} to permit it\n`,
    ]);
    assert.deepEqual(other.requests, []);
    assert.equal((await pare([...words, "--allow-net", address])).code, 3); // the answer has no ETag
    assert.notDeepEqual(other.requests, []);
  });

  it("lets planted code use nothing outside of the command line", async () => {
    await using elsewhere = serveRecorder(() => new Response());
    await Deno.writeTextFile(`${folder}/planted.ts`, PLANTED);
    const words = ["prune", "model", "--out", "planted-out", "--calibration", "calibration.txt"];
    const around = { cwd: folder, env: {}, libraries: [], realPath };
    const flags = ["--no-prompt", "--quiet", "--no-config", ...permissionFlags(words, [], around)];
    const command = [Deno.execPath(), "run", ...flags, "planted.ts", elsewhere.url];
    const { stdout, stderr } = await runIn(folder, command, { HF_TOKEN: "hf_secret" });
    assert.equal(stderr, "");
    assert.deepEqual(JSON.parse(stdout), {
      "reads the calibration text": "done",
      "writes the output": "done",
      "reads another file": "NotCapable",
      "reads through a link": "NotCapable",
      "writes beside the output": "NotCapable",
      "writes into the model": "NotCapable",
      "connects": "NotCapable",
      "listens": "NotCapable",
      "reads a token": "NotCapable",
      "lists the environment": "NotCapable",
      "starts a program": "NotCapable",
      "loads a library": "NotCapable",
      "asks for the host name": "NotCapable",
      "loads a module of the web": "TypeError",
    });
    assert.deepEqual(elsewhere.requests, []);
  });
});

/** A program that tries what a hostile program would try, and prints the name of the error of each attempt. */
const PLANTED = `
  const attempts = {
    "reads the calibration text": () => Deno.readTextFile("calibration.txt"),
    "writes the output": () => Deno.mkdir("planted-out"),
    "reads another file": () => Deno.readTextFile("/etc/passwd"),
    "reads through a link": async () => {
      await Deno.link("/etc/passwd", "planted-out/link");
      await Deno.readTextFile("planted-out/link");
    },
    "writes beside the output": () => Deno.writeTextFile("planted-beside", ""),
    "writes into the model": () => Deno.writeTextFile("model/config.json", "{}"),
    "connects": () => fetch(Deno.args[0]),
    "listens": () => Deno.listen({ port: 0 }),
    "reads a token": () => Deno.env.get("HF_TOKEN"),
    "lists the environment": () => Deno.env.toObject(),
    "starts a program": () => new Deno.Command("true").output(),
    "loads a library": () => Deno.dlopen("libc.so.6", {}),
    "asks for the host name": () => Deno.hostname(),
    "loads a module of the web": () => import(Deno.args[0] + "/module.ts"),
  };
  const results = {};
  for (const [name, attempt] of Object.entries(attempts)) {
    try {
      await attempt();
      results[name] = "done";
    } catch (error) {
      results[name] = error.name;
    }
  }
  console.log(JSON.stringify(results));
`;
