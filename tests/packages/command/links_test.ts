/**
 * Tests what the installed command does with symbolic links on its command line. The results are the table in `src/cli/README.md`, which this
 * test compares with them.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { dirname } from "node:path";
import { digestBytes } from "../../../src/base/files/chunks.ts";
import { installCommand, runIn, startIn } from "./installed_command.ts";

const PAGE = new URL("../../../src/cli/README.md", import.meta.url);

/** The folder to which Kubernetes writes the files of a ConfigMap or a Secret. */
const VERSION = "..2026_11_28_07_30_00.1", NEXT_VERSION = "..2026_11_28_07_40_00.2";

const { folder } = await installCommand(), pare = `${folder}/node_modules/.bin/pare`;
await Deno.writeTextFile(`${folder}/profile.json`, '[{"match":"*.0.fc2","sparsity":0.25}]');
await Deno.mkdir(`${folder}/elsewhere`);

/** Creates a link in the user's folder. Both paths are relative to this folder. */
async function link(target: string, path: string): Promise<void> {
  await Deno.mkdir(dirname(`${folder}/${path}`), { recursive: true });
  await Deno.symlink(`${folder}/${target}`, `${folder}/${path}`);
}

/** Copies files to a new folder in the layout of a mounted ConfigMap. */
async function mount(path: string, files: Readonly<Record<string, string>>): Promise<void> {
  const mounted = `${folder}/${path}`;
  await Deno.mkdir(`${mounted}/${VERSION}`, { recursive: true });
  await Deno.symlink(VERSION, `${mounted}/..data`);
  for (const [name, source] of Object.entries(files)) {
    await Deno.copyFile(`${folder}/${source}`, `${mounted}/${VERSION}/${name}`);
    await Deno.symlink(`..data/${name}`, `${mounted}/${name}`);
  }
}

/** Returns the words of a small run. If an option is given twice, the last value is used. */
function prune(...words: readonly string[]): string[] {
  const defaults = "--calibration calibration.txt --samples 2 --seqlen 32 --layers fc2 --method magnitude";
  return ["prune", "model", "--backend", "cpu", ...defaults.split(" "), ...words];
}

/** A link and the command that meets it. */
interface Case {
  readonly linked: string;
  /** Creates the link. */
  prepare(): Promise<void>;
  readonly words: readonly string[];
  /** A file that the command writes, and that must be there in the end. */
  readonly writes?: string;
}

const CASES: readonly Case[] = [
  { linked: "the model", prepare: () => link("model", "l/model"), words: ["verify", "l/model"] },
  {
    linked: "a folder above the model",
    prepare: () => link(".", "l/home"),
    words: ["verify", "l/home/model"],
  },
  {
    linked: "the files of a model, in a mounted ConfigMap",
    prepare: async () => {
      const names = await Array.fromAsync(Deno.readDir(`${folder}/model`), ({ name }) => name);
      await mount("map", Object.fromEntries(names.map((name) => [name, `model/${name}`])));
    },
    words: ["verify", "map"],
  },
  {
    linked: "the cache of the Hugging Face hub, and the files in it",
    prepare: async () => {
      const snapshot = "hub/models--a--b/snapshots/1", blobs = "hub/models--a--b/blobs";
      await Deno.mkdir(`${folder}/${blobs}`, { recursive: true });
      for await (const { name } of Deno.readDir(`${folder}/model`)) {
        await Deno.copyFile(`${folder}/model/${name}`, `${folder}/${blobs}/${name}`);
        await link(`${blobs}/${name}`, `${snapshot}/${name}`);
      }
      await link("hub", "l/hub");
    },
    words: ["verify", "l/hub/models--a--b/snapshots/1"],
  },
  {
    linked: "a file of the model, to another folder",
    prepare: async () => {
      await Deno.mkdir(`${folder}/partly`);
      for await (const { name } of Deno.readDir(`${folder}/model`)) {
        await link(`model/${name}`, `partly/${name}`);
      }
    },
    words: ["verify", "partly"],
  },
  {
    linked: "a text",
    prepare: () => link("calibration.txt", "l/text"),
    words: prune("--calibration", "l/text", "--out", "o1"),
    writes: "o1/model.safetensors",
  },
  {
    linked: "a text in a mounted ConfigMap",
    prepare: () => mount("texts", { text: "calibration.txt" }),
    words: prune("--calibration", "texts/text", "--out", "o2"),
    writes: "o2/model.safetensors",
  },
  {
    linked: "a profile",
    prepare: () => link("profile.json", "l/profile"),
    words: prune("--profile", "l/profile", "--out", "o3"),
    writes: "o3/model.safetensors",
  },
  {
    linked: "the input of `pare layer`",
    prepare: () => link("layer.safetensors", "l/layer"),
    words: ["layer", "l/layer", "--out", "o4", "--backend", "cpu"],
    writes: "o4",
  },
  {
    linked: "an output folder",
    prepare: async () => {
      await Deno.mkdir(`${folder}/o5`);
      await link("o5", "l/out");
    },
    words: prune("--out", "l/out"),
    writes: "o5/model.safetensors",
  },
  {
    linked: "a folder above an output folder, of which more are missing",
    prepare: () => link("elsewhere", "l/scratch"),
    words: prune("--out", "l/scratch/runs/1"),
    writes: "elsewhere/runs/1/model.safetensors",
  },
  {
    linked: "an output folder, to nowhere",
    prepare: () => link("absent", "l/nowhere"),
    words: prune("--out", "l/nowhere"),
  },
  {
    linked: "the folder of an output file",
    prepare: () => Promise.resolve(),
    words: ["layer", "layer.safetensors", "--out", "l/scratch/layer", "--backend", "cpu"],
    writes: "elsewhere/layer",
  },
  {
    linked: "an output file",
    prepare: () => link("elsewhere/target", "l/file"),
    words: ["layer", "layer.safetensors", "--out", "l/file", "--backend", "cpu"],
  },
  {
    linked: "`.pare` in an output folder",
    prepare: () => link("elsewhere", "o6/.pare"),
    words: prune("--out", "o6"),
  },
  {
    linked: "a file in an output folder",
    prepare: () => link("elsewhere/target", "o7/model.safetensors.partial"),
    words: prune("--out", "o7"),
  },
  {
    linked: "the folder of `pare report`",
    prepare: () => link("o1", "l/run"),
    words: ["report", "l/run"],
    writes: "o1/report.html",
  },
];

/** Runs a command, and describes what it did. */
async function outcome({ prepare, words, writes }: Case): Promise<string> {
  await prepare();
  const { code, stderr } = await runIn(folder, [pare, ...words]);
  if (code === 0) {
    if (writes !== undefined) await Deno.stat(`${folder}/${writes}`);
    return "is followed";
  }
  const [error] = stderr.split("\n").filter((line) => line.startsWith("error: "));
  return `is refused with exit code ${code}: "${
    error.slice("error: ".length).replaceAll(`${folder}/`, "/home/")
  }"`;
}

/** Starts a host, calls `use` with its URL, and stops the host. */
async function withHost(keys: string, use: (url: string) => Promise<void>): Promise<void> {
  const host = startIn(folder, [
    ...[pare, "serve", "--port", "0"],
    ...["--json", "--backend", "cpu", "--keys-file", keys],
  ]);
  const reader = host.stdout.pipeThrough(new TextDecoderStream()).getReader();
  try {
    const line = (await reader.read()).value;
    assert.ok(line !== undefined, "the host did not start");
    await use(JSON.parse(line).url);
  } finally {
    host.kill("SIGTERM");
    await host.status;
    await reader.cancel();
    await host.stderr.cancel();
  }
}

/** Returns whether the host accepts a key. The request itself is malformed. */
async function accepts(url: string, key: string): Promise<boolean> {
  const response = await fetch(`${url}/v1/layers`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}` },
  });
  await response.body?.cancel();
  return response.status !== 401;
}

const KEYS_ROW = {
  linked: "a keys file, in a mounted Secret",
  happens: "is followed, also when Kubernetes replaces it",
};

describe(
  "a symbolic link",
  { skip: Deno.build.os === "windows" && "links need special rights on Windows" },
  () => {
    const rows: { linked: string; happens: string }[] = [];

    for (const tried of CASES) {
      it(`is followed or refused: ${tried.linked}`, async () => {
        rows.push({ linked: tried.linked, happens: await outcome(tried) });
      });
    }

    it("is followed: a keys file in a mounted Secret, also after Kubernetes has replaced it", async () => {
      const [oldKey, newKey] = ["old", "new"].map((text) => text.repeat(20));
      await Deno.writeTextFile(`${folder}/keys`, digestBytes(oldKey));
      await mount("secret", { keys: "keys" });
      await withHost("secret/keys", async (url) => {
        assert.deepEqual([await accepts(url, oldKey), await accepts(url, newKey)], [true, false]);
        await Deno.mkdir(`${folder}/secret/${NEXT_VERSION}`);
        await Deno.writeTextFile(`${folder}/secret/${NEXT_VERSION}/keys`, digestBytes(newKey));
        await Deno.symlink(NEXT_VERSION, `${folder}/secret/..data_tmp`);
        await Deno.rename(`${folder}/secret/..data_tmp`, `${folder}/secret/..data`);
        await Deno.remove(`${folder}/secret/${VERSION}`, { recursive: true });
        for (let waited = 0; !await accepts(url, newKey); waited++) {
          assert.ok(waited < 60, "the host has not read the new keys in 15 seconds");
          await new Promise((resolve) => setTimeout(resolve, 250));
        }
        assert.ok(!await accepts(url, oldKey));
      });
      rows.push(KEYS_ROW);
    });

    it("never leads a command to write outside of what it names", async () => {
      const names = await Array.fromAsync(Deno.readDir(`${folder}/elsewhere`), ({ name }) => name);
      assert.deepEqual(names.sort(), ["layer", "runs"]); // those of the two folders that the command line names
    });

    it("does what the page of the command line says", async () => {
      const page = await Deno.readTextFile(PAGE),
        cells = (text: string) => text.split(/[ |\n-]+/).join(" ").trim();
      const [, table] = /<!-- result of links_test\.ts -->([\s\S]*?)<!-- end -->/.exec(page)!;
      const results = [{ linked: "what is a link", happens: "what happens" }, ...rows];
      assert.equal(
        cells(table),
        cells(results.map(({ linked, happens }) => `${linked} | ${happens}`).join("\n")),
      );
    });
  },
);
