/** Bundles the SDK, `src/client/mod.ts`, and the libraries that it uses into one file. */

import { VERSION } from "../../../src/protocol/version.ts";
import { ROOT } from "../command/places.ts";

const BANNER =
  `/*! pare-llm-client ${VERSION}, MIT licence. Contains zod, @noble/hashes, p-retry and is-network-error, MIT licence. */\n`;

interface BundleOptions {
  /** Whether names and white space are shortened. */
  readonly minify: boolean;
}

/**
 * Writes the SDK as one ES module that imports nothing, for browsers and for every other JavaScript runtime.
 * @throws {Error} with the output of the bundler if it fails
 */
export async function bundleClient(outFile: string, { minify }: BundleOptions): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["bundle", "--quiet", "--platform", "browser", "--output", outFile],
      ...minify ? ["--minify"] : [],
      "src/client/mod.ts",
    ],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder(), output = text.decode(stdout) + text.decode(stderr);
  if (!success) throw new Error(`bundle of src/client/mod.ts: ${output.trim()}`);
  await Deno.writeTextFile(outFile, BANNER + await Deno.readTextFile(outFile));
}

/** Writes the SDK as one minified ES module for pages without a build step. @throws {Error} as `bundleClient` */
export function buildBrowserBundle(outFile: string): Promise<void> {
  return bundleClient(outFile, { minify: true });
}
