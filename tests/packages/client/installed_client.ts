/** Installs the tarball of the npm package `pare-llm-client` into an empty project, as a user does, and runs programs there. */

import assert from "node:assert/strict";
import { buildClientPackage } from "../../../scripts/packages/client/build_client_package.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";

/** The page of the package, whose examples the tests run. */
export const PACKAGE_PAGE = new URL("../../../scripts/packages/client/package_readme.md", import.meta.url);

/** A folder in which the package is installed. */
interface ClientProject {
  /** The path of the folder. */
  readonly folder: string;
  /** Writes a file. */
  write(name: string, text: string): Promise<void>;
  /** Lists the files of the installed package, relative to its folder. */
  packageFiles(): Promise<string[]>;
  /** Reads a file of the installed package. */
  readPackage(name: string): Promise<string>;
  /** Runs a command in the folder and returns what it prints. @throws {AssertionError} with its output if it fails */
  run(command: string, args: readonly string[]): Promise<string>;
}

/** Builds the package, packs it, and installs the tarball without access to a registry, until the end of the tests. */
export async function installClient(): Promise<ClientProject> {
  const root = temporaryFolder();
  const built = `${root}/package`, folder = `${root}/project`;
  await Deno.mkdir(built);
  await Deno.mkdir(folder);
  await buildClientPackage(built);
  const run = (command: string, args: readonly string[]) => runIn(folder, command, args);
  const tarball = (await run("npm", ["pack", "--silent", built])).trim();
  await Deno.writeTextFile(`${folder}/package.json`, JSON.stringify({ name: "project", type: "module" }));
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", tarball]);
  return {
    folder,
    write: (name, text) => Deno.writeTextFile(`${folder}/${name}`, text),
    packageFiles: () => listFiles(`${folder}/node_modules/pare-llm-client`),
    readPackage: (name) => Deno.readTextFile(`${folder}/node_modules/pare-llm-client/${name}`),
    run,
  };
}

async function listFiles(folder: string, prefix = ""): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${folder}/${prefix}`)) {
    files.push(...isDirectory ? await listFiles(folder, `${prefix}${name}/`) : [prefix + name]);
  }
  return files;
}

/** Runs a command in a folder. @throws {AssertionError} with its output if it fails */
export async function runIn(folder: string, command: string, args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    cwd: folder,
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder(), output = text.decode(stdout);
  assert.ok(success, `${command} ${args.join(" ")}: ${output}${text.decode(stderr)}`);
  return output;
}

/** Returns the blocks of a Markdown page in one language, with the URL of the host in the examples replaced by `hostUrl`. */
export async function examplesOf(page: URL, language: string, hostUrl: string): Promise<string[]> {
  const text = await Deno.readTextFile(page);
  const blocks = [...text.matchAll(new RegExp("```" + language + "\\n([\\s\\S]*?)```", "g"))];
  assert.ok(blocks.length > 0, `${page.pathname} has no example in ${language}`);
  return blocks.map(([, code]) => code.replaceAll("http://127.0.0.1:8000", hostUrl));
}
