/**
 * Tests the page of the contract, `routes/README.md`: its examples run unchanged against a host, its tables of tensors and errors are those
 * of the source, and its parameters are those of the schema. The example with a job needs an edge, so `tests/contract` runs it.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { CONTRACT_PAGE, renderContractPage } from "../../scripts/contract/page.ts";
import { generateDocuments } from "../../scripts/contract/documents.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { type Host, serve } from "../../routes/serve.ts";
import { exampleOf, missingCommand, runCommand } from "../support/page_examples.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

/** The origin of the host in the examples. */
const EXAMPLE_ORIGIN = "http://127.0.0.1:8000";
const REPOSITORY = new URL("../../", import.meta.url);

describe("the page of the contract", () => {
  it("has the tables of tensors and errors of the source; `deno task generate` writes them", async () => {
    const plain = (text: string) => text.replace(/[ \n-]+/g, " ");
    assert.equal(plain(await Deno.readTextFile(CONTRACT_PAGE)), plain(await renderContractPage()));
  });

  it("lists the parameters of the schema, with their defaults", async () => {
    const [host] = await generateDocuments();
    const page = await Deno.readTextFile(CONTRACT_PAGE);
    const table = /^\| parameter +\|.*\n((?:\|.*\n)+)/m.exec(page)![1].split("\n").slice(1, -1);
    const listed = new Map(table.map((row) => {
      const [, name, , defaultValue] = row.split("|").map((cell) => cell.replaceAll("`", "").trim());
      return [name, defaultValue];
    }));
    const { parameters } = JSON.parse(host.text).paths["/v1/layers"].post;
    assert.deepEqual(
      [...listed.keys()].toSorted(),
      parameters.map(({ name }: { name: string }) => name).toSorted(),
    );
    for (const { name, schema } of parameters) {
      if ("default" in schema) assert.equal(listed.get(name), String(schema.default), name);
    }
  });
});

describe("the examples of the page of the contract", () => {
  const folder = temporaryFolder();
  let host: Host;
  before(async () => {
    host = await serve({ backend: "cpu", port: 0, log: () => {} });
    await Deno.mkdir(`${folder}/tests/fixtures/layers`, { recursive: true });
    const layer = "tests/fixtures/layers/layer.safetensors";
    await Deno.copyFile(new URL(layer, REPOSITORY), `${folder}/${layer}`);
  });
  after(() => host.shutdown());

  const example = async (language: string, index: number) =>
    (await exampleOf(CONTRACT_PAGE, language, index)).replaceAll(EXAMPLE_ORIGIN, host.url);
  const pruned = async () => decode(await Deno.readFile(`${folder}/pruned.safetensors`));

  it("prune the sample layer with curl", async () => {
    const printed = await runCommand("sh", ["-ec", await example("sh", 0)], folder);
    assert.match(printed, /^HTTP\/1.1 200/);
    assert.match(printed, /^pare-report: \{"method":"sparsegpt","rows":64,"cols":96,"pattern":"2:4"/im);
    assert.equal(JSON.parse((await pruned()).header.metadata.report).zeros, 64 * 96 / 2);
  });

  it("prune a layer in Python, and then with curl and stored statistics", {
    skip: missingCommand("python3"),
  }, async () => {
    await Deno.writeTextFile(`${folder}/example.py`, await example("python", 1));
    const printed = await runCommand("python3", ["example.py"], folder);
    assert.match(printed, /^64 of 128 weights are 0, the relative error is 0\.\d{4}\n$/);
    await runCommand("sh", ["-ec", await example("sh", 1)], folder);
    const { header, tensors } = await pruned();
    assert.deepEqual([tensors.get("weight")!.shape, JSON.parse(header.metadata.report).zeros], [[8, 16], 64]);
  });

  it("prune and round a layer in TypeScript", async () => {
    await Deno.writeTextFile(`${folder}/example.ts`, await example("ts", 0));
    const args = [
      ...["run", "--no-config", "--check", "--quiet", `--allow-net=${new URL(host.url).host}`],
      "example.ts",
    ];
    const printed = await runCommand(Deno.execPath(), args, folder);
    assert.match(printed, /^64 of 128 weights are 0, the relative error is 0\.\d+\n$/);
  });
});
