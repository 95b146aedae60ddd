/**
 * Makes the folder that stands for an image `debian:SUITE-slim`: Debian's minimal system without its documentation, from
 * `debootstrap`. The packages come from the mirror that this machine uses. The rest of its
 * configuration of apt, such as pinned versions, is ignored.
 */

import { run } from "./commands.ts";

/** Folders that the slim images of Debian leave out. */
const DOCUMENTATION = ["doc", "info", "locale", "man", "lintian", "linda", "groff"];

/** The addresses of a Debian mirror. */
interface Mirror {
  readonly main: string;
  readonly security: string;
}

/** Reads the addresses of the mirror from apt. @throws {Error} if apt knows none */
async function configuredMirror(): Promise<Mirror> {
  const format = "$(LABEL)\t$(REPO_URI)";
  const lines = (await run(["apt-get", "indextargets", "--format", format, "Created-By: Packages"])).split(
    "\n",
  );
  const addressOf = (label: string): string => {
    const address = lines.map((line) => line.split("\t")).find(([name]) => name === label)?.[1];
    if (address === undefined) throw new Error(`apt has no source with the label ${label}`);
    return address;
  };
  return { main: addressOf("Debian"), security: addressOf("Debian-Security") };
}

/** Returns the suite of an image such as `debian:trixie-slim`. @throws {RangeError} for any other image */
export function suiteOf(image: string): string {
  const suite = /^debian:([a-z]+)-slim$/.exec(image)?.[1];
  if (suite === undefined) throw new RangeError(`image ${image}: must be debian:SUITE-slim`);
  return suite;
}

/** Writes the minimal system of `suite` to the new folder `root`. @throws {Error} if debootstrap is missing or fails */
export async function makeBaseRoot(suite: string, root: string): Promise<void> {
  const { main, security } = await configuredMirror();
  await run(["debootstrap", "--variant=minbase", suite, root, main]);
  const sources = [
    `${main} ${suite} main`,
    `${main} ${suite}-updates main`,
    `${security} ${suite}-security main`,
  ];
  await Deno.writeTextFile(
    `${root}/etc/apt/sources.list`,
    sources.map((source) => `deb ${source}\n`).join(""),
  );
  const excluded = DOCUMENTATION.map((folder) => `path-exclude /usr/share/${folder}/*\n`);
  await Deno.writeTextFile(`${root}/etc/dpkg/dpkg.cfg.d/slim`, excluded.join(""));
  await run(["rm", "-rf", ...DOCUMENTATION.map((folder) => `${root}/usr/share/${folder}`)]);
  await run(["sh", "-c", 'rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*', "sh", root]);
}
