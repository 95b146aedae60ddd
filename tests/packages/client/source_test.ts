/** Tests which sources of the SDK are published, and that Node runs them without a build step. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { fileURLToPath } from "node:url";
import { serve } from "../../../routes/serve.ts";
import deno from "../../../deno.json" with { type: "json" };
import { temporaryFolder } from "../../support/temporary_folder.ts";
import { runIn } from "./installed_client.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/** The npm package with a Node that removes types from TypeScript while it loads a file. */
const NODE_22 = "node@22.23.3";

/** Prunes a layer at the host whose URL is the argument. */
const SCRIPT = `import { Pare, type PrunedLayer, tensorFromFloats } from "./src/client/mod.ts";

const waves = (length: number) => tensorFromFloats(Float32Array.from({ length: length * 16 }, (_, i) => Math.sin(i * i)), [length, 16]);
const pare = new Pare({ baseUrl: process.argv[2] });
const { report }: PrunedLayer = await pare.pruneLayer({ weight: waves(8), inputs: waves(64) }, { pattern: "2:4" });
console.log(process.version, report.zeros);
`;

/** Returns the paths of the files that `deno publish` would publish, relative to the repository. */
async function publishedFiles(): Promise<string[]> {
  const args = ["publish", "--dry-run", "--allow-dirty"];
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder(), output = text.decode(stdout) + text.decode(stderr);
  assert.ok(success, output);
  assert.doesNotMatch(output, /warning/i, "deno publish warns of slow types and the like");
  return [...output.matchAll(/file:\/\/(\S+)/g)].map(([, path]) => path.slice(ROOT.length)).sort();
}

/** Returns the paths of the files that `src/client/mod.ts` imports, directly and indirectly, relative to the repository. */
async function importedFiles(): Promise<string[]> {
  const { modules } = JSON.parse(
    await runIn(ROOT, Deno.execPath(), ["info", "--json", "src/client/mod.ts"]),
  );
  const root = new URL("../../../", import.meta.url).href;
  return modules.map(({ specifier }: { specifier: string }) => specifier)
    .filter((specifier: string) => specifier.startsWith(`${root}src/`))
    .map((specifier: string) => specifier.slice(root.length)).sort();
}

describe("the sources of the SDK", () => {
  let published: string[];
  before(async () => {
    published = await publishedFiles();
  });

  it("are published without slow types and without the files of the servers", async () => {
    assert.deepEqual(published, [...await importedFiles(), "LICENSE", "deno.json"].sort());
  });

  it("document every exported name and member, and export every type that these name", async () => {
    await runIn(ROOT, Deno.execPath(), ["doc", "--quiet", "--lint", "src/client/mod.ts"]);
  });

  it("use neither node: modules nor the global Deno", async () => {
    for (const path of published.filter((path) => path.endsWith(".ts"))) {
      const code = (await Deno.readTextFile(ROOT + path)).replaceAll(/^\s*(\/?\*|\/\/).*$/gm, "");
      assert.doesNotMatch(code, /"node:|\bDeno\./, path);
    }
  });
});

const folder = temporaryFolder();
const host = await serve({ backend: "cpu", port: 0, log: () => {} });
after(() => host.shutdown());

describe("the sources of the SDK in Node 22", () => {
  it("prune a layer without a build step, with their three libraries installed", async () => {
    for (const path of await publishedFiles()) {
      await Deno.mkdir(`${folder}/${path.split("/").slice(0, -1).join("/")}`, { recursive: true });
      await Deno.copyFile(ROOT + path, `${folder}/${path}`);
    }
    await Deno.writeTextFile(`${folder}/package.json`, JSON.stringify({ type: "module" }));
    await Deno.writeTextFile(`${folder}/script.ts`, SCRIPT);
    const libraries = ["zod", "p-retry", "@noble/hashes/"].map((name) =>
      deno.imports[name as keyof typeof deno.imports].replace(/^npm:\/?/, "").replace(/\/$/, "")
    );
    await runIn(folder, "npm", ["install", "--no-audit", "--no-fund", NODE_22, ...libraries]);
    const printed = await runIn(folder, "npx", ["node", "script.ts", host.url]);
    assert.match(printed, /^v22\.\d+\.\d+ 64$/m);
  });
});
