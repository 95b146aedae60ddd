/** `deno task build npm`: builds the npm packages into build/npm/NAME, where `npm pack` makes a tarball. */

import { buildClientPackage } from "./client/build_client_package.ts";
import { buildCommandPackage } from "./command/build_command_package.ts";
import { ROOT } from "./command/places.ts";

/** The function that builds each package. It gets the folder of the package, which exists and is empty. */
const PACKAGES: Readonly<Record<string, (folder: string) => Promise<void>>> = {
  "pare-llm": buildCommandPackage,
  "pare-llm-client": buildClientPackage,
};

for (const [name, build] of Object.entries(PACKAGES)) {
  const folder = `${ROOT}/build/npm/${name}`;
  await Deno.remove(folder, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  await Deno.mkdir(folder, { recursive: true });
  await build(folder);
  console.log(`build/npm/${name}`);
}
