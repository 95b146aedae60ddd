/** Builds the npm package `pare-llm-client`, which is the SDK. */

import { buildBrowserBundle, bundleClient } from "./bundle_client.ts";

/** Writes the package into `folder`. */
export async function buildClientPackage(folder: string): Promise<void> {
  await Deno.mkdir(`${folder}/dist`);
  await bundleClient(`${folder}/dist/mod.js`, { minify: false, declaration: true });
  await buildBrowserBundle(`${folder}/dist/pare-client.min.js`);
}
