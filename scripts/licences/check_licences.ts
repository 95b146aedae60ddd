/** Checks the licences of libraries against a list of those that Pare may hand on under its own licence. */

import { ROOT } from "../packages/command/places.ts";
import type { Library } from "./libraries.ts";

/** The allowed licences, by their SPDX names. All of them permit copies under the MIT licence that carry their text. */
const ALLOWED: ReadonlySet<string> = new Set([
  "0BSD",
  "Apache-2.0",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "ISC",
  "MIT",
]);

/** The part of `deno.lock` that names packages, as `NAME@VERSION` and, for packages with peers, `NAME@VERSION_PEER@VERSION`. */
export interface LockFile {
  readonly npm: Readonly<Record<string, unknown>>;
}

export async function readLockFile(): Promise<LockFile> {
  return JSON.parse(await Deno.readTextFile(`${ROOT}/deno.lock`));
}

/** Returns one message for each library whose licence is not allowed, or that is not in `deno.lock`. */
export function licenceProblems(libraries: readonly Library[], { npm }: LockFile): string[] {
  const locked = new Set(Object.keys(npm).map((key) => key.replace(/_.*/, "")));
  return libraries.flatMap(({ name, version, licence }) => {
    const library = `${name} ${version}`;
    return [
      ...isAllowed(licence)
        ? []
        : [`${library}: its licence ${licence} is none of ${[...ALLOWED].join(", ")}`],
      ...locked.has(`${name}@${version}`) ? [] : [`${library}: is not in deno.lock`],
    ];
  });
}

/** Whether an SPDX expression allows the use under an allowed licence, or under several that are all allowed. */
function isAllowed(expression: string): boolean {
  const alternatives = expression.replace(/^\((.*)\)$/, "$1").split(" OR ");
  return alternatives.some((all) => all.split(" AND ").every((licence) => ALLOWED.has(licence)));
}
