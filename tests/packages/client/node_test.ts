/** Uses the installed npm package `pare-llm-client` in Node, from JavaScript and from TypeScript. */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { serve } from "../../../routes/serve.ts";
import { examplesOf, installClient, PACKAGE_PAGE } from "./installed_client.ts";

const LAYER = new URL("../../fixtures/layers/layer.safetensors", import.meta.url);
const README = new URL("../../../README.md", import.meta.url);

/** The packages that run TypeScript, compile it, and bundle it. npm installs them into a project of the test. */
const TSX = "tsx@4.23.15",
  TYPESCRIPT = "typescript@5.9.3",
  NODE_TYPES = "@types/node@24.19.2",
  ESBUILD = "esbuild@0.28.2";

/** Prunes a layer at the host whose URL is the argument, and prints the version of Node and the number of zeros. */
const PLAIN_SCRIPT =
  `import { floatsFromTensor, hessianUpper, Pare, tensorFromFloats } from "pare-llm-client";

const waves = (length) => Float32Array.from({ length }, (_, i) => Math.sin(i * i));
const weight = tensorFromFloats(waves(8 * 16), [8, 16], "BF16");
const hessian_upper = hessianUpper([tensorFromFloats(waves(64 * 16), [64, 16])]);
const pare = new Pare({ baseUrl: process.argv[2] });
const pruned = await pare.pruneLayer({ weight, hessian_upper }, { sparsity: 0.5 });
console.log(process.version, floatsFromTensor(pruned.weight).filter((value) => value === 0).length);
`;

/** Catches one error of each class that a call can throw, and prints whether `instanceof` finds the class. */
const CATCH_ERRORS =
  `import { ConnectionError, MalformedAnswerError, Pare, PareError, SafetensorsError, decode } from "pare-llm-client";

const answering = (answer: () => Response) => new Pare({ baseUrl: "http://localhost", retries: 0, fetch: answer });
const thrown = (call: () => unknown) => Promise.resolve().then(call).then(() => undefined, (error: unknown) => error);

async function main() {
  const refused = await thrown(() => answering(() => Response.json({ code: "busy" }, { status: 422 })).describeHost());
  const malformed = await thrown(() => answering(() => Response.json({})).describeHost());
  const lost = await thrown(() => answering(() => { throw new Error("lost"); }).describeHost());
  const invalid = await thrown(() => decode(new Uint8Array(3)));
  console.log(refused instanceof PareError, malformed instanceof MalformedAnswerError, malformed instanceof TypeError);
  console.log(lost instanceof ConnectionError, invalid instanceof SafetensorsError, lost instanceof PareError);
}

main();
`;
const ALL_FOUND = "true true true\ntrue true false\n";

const host = await serve({ backend: "cpu", port: 0, log: () => {} });
const project = await installClient();
await project.run("npm", ["install", "--no-audit", "--no-fund", TSX, TYPESCRIPT, NODE_TYPES, ESBUILD]);
await Deno.copyFile(LAYER, `${project.folder}/layer.safetensors`);
await Deno.mkdir(`${project.folder}/tests/fixtures/layers`, { recursive: true });
await Deno.copyFile(LAYER, `${project.folder}/tests/fixtures/layers/layer.safetensors`);
after(() => host.shutdown());

describe("the installed SDK", () => {
  it("brings no other package, and names no file outside of itself", async () => {
    const { dependencies } = JSON.parse(await project.readPackage("package.json"));
    assert.equal(dependencies, undefined);
    const names = await project.packageFiles();
    assert.ok(names.includes("dist/mod.js") && names.includes("dist/types/client/mod.d.ts"), names.join());
    for (const name of names.filter((name) => /\.(js|d\.ts)$/.test(name))) {
      const code = await project.readPackage(name);
      assert.doesNotMatch(
        code.replaceAll(/^ \*.*$/gm, ""),
        /\bfrom\s*"[^.][^"]*"|import\("[^.]|file:\/\//,
        name,
      );
    }
  });

  it("exports the same values as the source, from both files", async () => {
    const expected = Object.keys(await import("../../../src/client/mod.ts"));
    for (const name of ["mod.js", "pare-client.min.js"]) {
      const path = `${project.folder}/node_modules/pare-llm-client/dist/${name}`;
      assert.deepEqual(Object.keys(await import(`file://${path}`)), expected, name);
    }
  });

  it("prunes a layer in Node with the examples of its page and of the README", async () => {
    const examples = [
      ...await examplesOf(PACKAGE_PAGE, "ts", host.url),
      ...await examplesOf(README, "ts", host.url),
    ];
    const printed: string[] = [];
    for (const [index, code] of examples.entries()) {
      await project.write(`example${index}.ts`, code);
      printed.push(await project.run("npx", ["tsx", `example${index}.ts`]));
    }
    assert.match(printed[0], /^3072 6144$/m);
    assert.match(printed[1], /^3072 0\.\d+$/m);
    assert.match(printed[2], /^\[ 64, 96 \] 3072 0\.\d+/);
    assert.equal(printed.length, 3);
  });

  it("runs without a compiler in the Node of this machine, and prunes to 50 %", async () => {
    await project.write("plain.mjs", PLAIN_SCRIPT);
    const [version, zeros] = (await project.run("node", ["plain.mjs", host.url])).trim().split(" ");
    assert.ok(Number.parseInt(version.slice(1)) >= 20, `Node ${version}`);
    assert.equal(Number(zeros), 8 * 16 / 2);
  });

  for (const [moduleOption, resolution] of [["nodenext", "nodenext"], ["esnext", "bundler"]]) {
    it(`compiles with strict types and ${resolution} resolution, also its declarations`, async () => {
      for (const [index, code] of (await examplesOf(PACKAGE_PAGE, "ts", host.url)).entries()) {
        await project.write(`typed${index}.ts`, code);
      }
      await project.write("errors.ts", CATCH_ERRORS);
      await project.write(
        "patterns.ts",
        `import type { HostTensor, LayerQuery, PruneEvent, Report } from "pare-llm-client";
import { Pare } from "pare-llm-client/browser";
export const query: LayerQuery = { pattern: "2:4", method: "alps" };
// @ts-expect-error: a pattern is "unstructured" or two numbers
export const wrongPattern: LayerQuery = { pattern: "two of four" };
// @ts-expect-error: a dtype in lower case
export const wrongDtype: HostTensor = { dtype: "f32", shape: [0], data: new Uint8Array() };
export const lossOf = (event: PruneEvent): Report["loss"] => event.type === "layer" ? event.report.loss : null;
export const pare: Pare = new Pare({ baseUrl: "http://localhost" });
`,
      );
      const options = [
        ...["--strict", "--noEmit", "--target", "es2022"],
        ...["--lib", "es2022,dom", "--types", "node"],
      ];
      const files = ["typed0.ts", "typed1.ts", "errors.ts", "patterns.ts"];
      const modules = ["--module", moduleOption, "--moduleResolution", resolution];
      await project.run("npx", ["tsc", ...options, ...modules, ...files]);
    });
  }

  for (const type of ["module", "commonjs"] as const) {
    it(`has error classes that instanceof finds under tsx in a project of type ${type}`, async () => {
      await Deno.writeTextFile(
        `${project.folder}/package.json`,
        JSON.stringify({ ...JSON.parse(await Deno.readTextFile(`${project.folder}/package.json`)), type }),
      );
      await project.write("errors.ts", CATCH_ERRORS);
      assert.equal(await project.run("npx", ["tsx", "errors.ts"]), ALL_FOUND);
    });
  }

  it("has error classes that instanceof finds after bundling and minifying", async () => {
    await project.write("errors.ts", CATCH_ERRORS);
    for (const format of ["esm", "cjs"]) {
      const output = `errors.bundle.${format === "esm" ? "mjs" : "cjs"}`;
      const options = [
        ...["--bundle", "--minify"],
        ...["--platform=node", `--format=${format}`, `--outfile=${output}`],
      ];
      await project.run("npx", ["esbuild", "errors.ts", "--log-level=error", ...options]);
      assert.equal(await project.run("node", [output]), ALL_FOUND);
    }
  });
});
