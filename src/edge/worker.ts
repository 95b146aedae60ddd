/**
 * The entry point of the Cloudflare Worker. It exports the handlers of requests and of the cron trigger, and the
 * classes that `wrangler.toml` names.
 */

import { createEdge } from "./app.ts";
import type { EdgeBindings } from "./bindings.ts";
import { collectGarbage } from "./collect_garbage.ts";
import type { ScheduledController } from "./runtime.ts";
import type { PageFiles } from "../pages/page_files.ts";
import { smallLayers } from "./small_layers.ts";

export { HostsObject, JobIndexObject, JobObject, JobWorkflow, SolverObject } from "./classes.ts";

// wrangler turns this import into a compiled module. The cast hides the import from Deno, which would
// otherwise try to load the module and everything that the module imports.
const { default: kernels } = await import("../../build/kernels_single.wasm" as string);

// The Worker also runs without the files of the pages, so wrangler must not fail if they are missing.
const pageFiles: PageFiles | undefined = await import("../../build/pages/files.json" as string)
  .then(({ default: files }) => files, () => undefined);

const app = createEdge({ smallLayers: smallLayers(kernels), pageFiles });

export default {
  fetch: app.fetch,
  async scheduled({ scheduledTime }: ScheduledController, env: EdgeBindings): Promise<void> {
    if (env.BLOBS) console.log(JSON.stringify({ collected: await collectGarbage(env, scheduledTime) }));
  },
};
