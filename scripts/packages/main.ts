/**
 * `deno task build:npm [NAME…]`: builds the npm packages, or those with the given names, into build/npm/NAME. `npm pack` makes the tarball of
 * a package in its folder.
 */

import { buildClientPackage } from "./client/build_client_package.ts";
import { buildCommandPackage } from "./command/build_command_package.ts";

/** The function that builds each package. It gets the folder of the package, which exists and is empty. */
const PACKAGES: Readonly<Record<string, (folder: string) => Promise<void>>> = {
  "pare-llm": buildCommandPackage,
  "pare-llm-client": buildClientPackage,
};

const FOLDER = new URL("../../build/npm/", import.meta.url).pathname;

const names = Deno.args.length > 0 ? Deno.args : Object.keys(PACKAGES);
for (const name of names) {
  if (!Object.hasOwn(PACKAGES, name)) {
    console.error(`package ${name}: must be one of ${Object.keys(PACKAGES).join(", ")}`);
    Deno.exit(2);
  }
  const folder = `${FOLDER}${name}`;
  await Deno.remove(folder, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  await Deno.mkdir(folder, { recursive: true });
  await PACKAGES[name](folder);
  console.log(`build/npm/${name}`);
}
