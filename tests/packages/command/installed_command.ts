/** Installs the tarball of the npm package `pare-llm` into an empty folder, and runs its command there, as a user would. */

import { cp } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { writeSotuTexts } from "../../../scripts/fixtures/sotu_text.ts";
import { driverMessages, withoutLines } from "../../support/driver_messages.ts";
import { OPT_SOTU } from "../../support/opt_sotu.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";

const PACKAGE = fileURLToPath(new URL("../../../build/npm/pare-llm", import.meta.url));

/** A folder with the installed package, the model `model`, the texts `calibration.txt` and `evaluation.txt`, and the layer `layer.safetensors`. */
interface Installation {
  readonly folder: string;
  /** The path of the tarball. */
  readonly tarball: string;
}

/** A process that has ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  /** The text on standard error, without the messages of graphics drivers. */
  readonly stderr: string;
}

/** Installs the package until the end of the tests. `deno task build npm` must have built it. @throws {Error} if npm fails */
export async function installCommand(): Promise<Installation> {
  const folder = temporaryFolder();
  await requireSuccess("npm", ["pack", PACKAGE, "--silent"], folder);
  const [{ name }] = await Array.fromAsync(Deno.readDir(folder));
  await requireSuccess("npm", ["install", "--silent", "--no-audit", "--no-fund", `./${name}`], folder);
  await cp(OPT_SOTU, `${folder}/model`, { recursive: true });
  await writeSotuTexts(folder);
  await Deno.copyFile(
    new URL("../../fixtures/layers/layer.safetensors", import.meta.url),
    `${folder}/layer.safetensors`,
  );
  return { folder, tarball: `${folder}/${name}` };
}

/** Runs a program in `folder`. The environment has nothing of the repository's own runtime. */
export async function runIn(
  folder: string,
  [program, ...args]: readonly string[],
  env: Record<string, string> = {},
): Promise<Ended> {
  const { code, stdout, stderr } = await startIn(folder, [program, ...args], env).output();
  const text = new TextDecoder();
  return {
    code,
    stdout: text.decode(stdout),
    stderr: withoutLines(text.decode(stderr), await driverMessages()),
  };
}

/** Starts a program in `folder`. */
export function startIn(
  folder: string,
  [program, ...args]: readonly string[],
  env: Record<string, string> = {},
): Deno.ChildProcess {
  return new Deno.Command(program, {
    args,
    cwd: folder,
    env: { NO_COLOR: "1", PARE_PROGRESS_SECONDS: "0", ...env }, // tests follow each step
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function requireSuccess(program: string, args: readonly string[], folder: string): Promise<void> {
  const { code, stderr } = await runIn(folder, [program, ...args]);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: exit code ${code}: ${stderr}`);
}
