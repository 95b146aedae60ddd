/**
 * `deno task licences`: lists the licences of all libraries that Pare hands on in its packages, in the Worker and in its pages. Ends with 1 if
 * one of them is not allowed. The script of the pages at `/docs` and Deno itself have the MIT licence. They are not in deno.lock, but
 * `scripts/build_docs.ts` and `scripts/packages/command/build_command_package.ts` name their versions.
 */

import { ROOT } from "../packages/command/places.ts";
import { licenceProblems, readLockFile } from "./check_licences.ts";
import { librariesOf } from "./libraries.ts";
import { shippedModules } from "./shipped_modules.ts";

const libraries = await librariesOf(await shippedModules(), ROOT);
const byLicence = Map.groupBy(libraries, ({ licence }) => licence);
for (const [licence, group] of [...byLicence].sort()) {
  console.log(`${licence}: ${group.map(({ name, version }) => `${name} ${version}`).join(", ")}`);
}
const problems = licenceProblems(libraries, await readLockFile());
for (const problem of problems) console.error(problem);
console.log(`licences: ${libraries.length} libraries, ${problems.length} problems`);
if (problems.length > 0) Deno.exit(1);
