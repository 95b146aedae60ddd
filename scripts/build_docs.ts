/**
 * `deno task build docs`: writes build/scalar.js.gz, the script of the pages at `/docs` of a host. The script is Scalar's, which shows OpenAPI
 * documents. It is one file of the npm package `@scalar/api-reference`. The package is fetched by npm without the 27 packages that it
 * depends on, because the file contains them.
 *
 * Without the file a host has no `/docs`, but everything else works. A failure is therefore only reported, unless the option `--required` is
 * given.
 */

import { gzip } from "node:zlib";
import { promisify } from "node:util";
import { messageOf } from "../src/base/errors.ts";

const PACKAGE = "@scalar/api-reference", VERSION = "1.72.1", LICENCE = "MIT";

/** The sha-512 of the package, in base64. */
const INTEGRITY = "XpEJ0rfc/cXbCrR+iC4kK0o/WwX2dTtGQbT049OlPKAHD6IMIFdTeGz2r+M27P2EDWKyUITRm/NzlP8z2pw/Ow==";

const SCRIPT = "package/dist/browser/standalone.js";

const BUILD = new URL("../build/", import.meta.url);

/** The name has the version, so that another version of the package is fetched again. */
const TARGET = new URL("scalar.js.gz", BUILD), STAMP = new URL("scalar.version", BUILD);

/** Fetches the package and writes the script, unless the script of this version exists. @throws {Error} if npm or tar fails */
async function buildDocs(): Promise<void> {
  if (await textOf(STAMP) === VERSION) return;
  const folder = await Deno.makeTempDir();
  try {
    await run("npm", ["pack", "--silent", "--pack-destination", folder, `${PACKAGE}@${VERSION}`], folder);
    const [{ name }] = await Array.fromAsync(Deno.readDir(folder));
    const digest = await crypto.subtle.digest("SHA-512", await Deno.readFile(`${folder}/${name}`));
    const got = new Uint8Array(digest).toBase64();
    if (got !== INTEGRITY) throw new Error(`${PACKAGE} ${VERSION} has the sha-512 ${got}, not ${INTEGRITY}`);
    await run("tar", ["-xzf", name, SCRIPT], folder);
    const banner = `/*! ${PACKAGE} ${VERSION}, ${LICENCE} licence */\n`;
    const script = banner + await Deno.readTextFile(`${folder}/${SCRIPT}`);
    await Deno.mkdir(BUILD, { recursive: true });
    await Deno.writeFile(TARGET, await promisify(gzip)(script, { level: 9 }));
    await Deno.writeTextFile(STAMP, VERSION);
    console.error(`build/scalar.js.gz: ${(await Deno.stat(TARGET)).size} bytes`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Returns the text of a file, or undefined if it does not exist. */
async function textOf(path: URL): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Runs a command in a folder. @throws {Error} with its standard error if it fails */
async function run(command: string, args: string[], cwd: string): Promise<void> {
  const { success, stderr } = await new Deno.Command(command, { args, cwd, stdout: "null" }).output();
  if (!success) throw new Error(`${command} failed: ${new TextDecoder().decode(stderr).trim()}`);
}

try {
  await buildDocs();
} catch (error) {
  console.error(`The host will have no pages at /docs: ${messageOf(error)}`);
  if (Deno.args.includes("--required")) Deno.exit(1);
}
