/**
 * `deno task build`: writes build/pages/files.json, which has the styles, the icon and the scripts of the pages in `src/pages`. The SDK
 * is a script of its own, and the scripts of the pages import it.
 */

import { basename } from "node:path";
import { build, type OutputFile, type Plugin, stop } from "esbuild";
import { sha256 } from "../src/protocol/digest.ts";
import type { PageFiles } from "../src/pages/page_files.ts";
import { buildBrowserBundle } from "./packages/client/bundle_client.ts";

const ROOT = new URL("../", import.meta.url).pathname, FOLDER = `${ROOT}build/pages`;

/** The name of the SDK among the files, and the source that it replaces. */
const CLIENT = "pare-client.js", CLIENT_SOURCE = `${ROOT}src/client/mod.ts`;

/** Stands in the scripts for the hash of the build, until the hash is known. */
const HASH_PLACE = "@HASH@";

async function buildPages(): Promise<PageFiles> {
  const texts = {
    ...await bundleStyles(["style", "docs"]),
    "icon.svg": await Deno.readTextFile(`${ROOT}src/pages/icon.svg`),
    [CLIENT]: await bundleSdk(),
    ...await bundleScripts(["playground", "jobs", "runs", "docs", "copy"]),
  };
  const hash = await hashOf(JSON.stringify(texts));
  const entries = Object.entries(texts).map(([name, text]) => [name, text.replaceAll(HASH_PLACE, hash)]);
  return { hash, texts: Object.fromEntries(entries) };
}

async function bundleSdk(): Promise<string> {
  // Another task may build the pages at the same time.
  const path = `${FOLDER}/${crypto.randomUUID()}.js`;
  await buildBrowserBundle(path);
  const text = await Deno.readTextFile(path);
  await Deno.remove(path);
  return text;
}

/** Joins the files of the styles with these names. Returns the texts by the names of the joined files. */
async function bundleStyles(names: readonly string[]): Promise<Record<string, string>> {
  const { outputFiles } = await build({
    entryPoints: names.map((name) => `${ROOT}src/pages/style/${name}.css`),
    outdir: FOLDER,
    bundle: true,
    minify: true,
    write: false,
  });
  return textsByName(outputFiles);
}

/** Bundles the scripts with these names. Where their sources import the SDK, the bundles import the file of the SDK. */
async function bundleScripts(names: readonly string[]): Promise<Record<string, string>> {
  const url = `./${CLIENT}?v=${HASH_PLACE}`;
  const importClient: Plugin = {
    name: "import the SDK as a file of its own",
    setup: ({ onResolve }) =>
      onResolve(
        { filter: /\/client\/mod\.ts$/ },
        ({ path, resolveDir }) =>
          new URL(path, `file://${resolveDir}/`).pathname === CLIENT_SOURCE
            ? { path: url, external: true }
            : undefined,
      ),
  };
  const { outputFiles } = await build({
    entryPoints: names.map((name) => `${ROOT}src/pages/browser/${name}.ts`),
    outdir: FOLDER,
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    write: false,
    plugins: [importClient],
    tsconfigRaw: {},
  });
  return textsByName(outputFiles);
}

function textsByName(files: readonly OutputFile[]): Record<string, string> {
  return Object.fromEntries(files.map(({ path, text }) => [basename(path), text]));
}

/** Writes a file, unless it has this text. Returns whether it was written. */
async function writeChanged(path: string, text: string): Promise<boolean> {
  if (await Deno.readTextFile(path).catch(() => undefined) === text) return false;
  const temporary = `${path}.${crypto.randomUUID()}`;
  await Deno.writeTextFile(temporary, text);
  await Deno.rename(temporary, path);
  return true;
}

async function hashOf(text: string): Promise<string> {
  return (await sha256(new TextEncoder().encode(text))).slice(0, 6).toHex();
}

await Deno.mkdir(FOLDER, { recursive: true });
const files = await buildPages();
if (await writeChanged(`${FOLDER}/files.json`, JSON.stringify(files))) {
  // Standard output belongs to the command that the task runs afterwards.
  const sizes = Object.entries(files.texts).map(([name, { length }]) => `${name} ${length}`);
  console.error(`build/pages/files.json: ${sizes.join(", ")} characters`);
}
await stop();
