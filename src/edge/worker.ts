/**
 * The entry point of the Cloudflare Worker. It exports the handlers of requests and of the cron trigger, and the classes that
 * `wrangler.toml` names.
 */

import { createEdge } from "./app.ts";
import type { EdgeBindings } from "./bindings.ts";
import { collectGarbage } from "./collect_garbage.ts";
import type { ScheduledController } from "./runtime/scheduled_controller.ts";
import { smallLayers } from "./small_layers.ts";

export { HostsObject, JobIndexObject, JobObject, JobWorkflow } from "./classes.ts";

// wrangler turns this import into a compiled module. The cast hides the import from Deno, which would
// otherwise try to load the module and everything that the module imports.
const { default: kernels } = await import("../../build/kernels_single.wasm" as string);

const app = createEdge({ smallLayers: smallLayers(kernels) });

export default {
  fetch: app.fetch,
  async scheduled({ scheduledTime }: ScheduledController, env: EdgeBindings): Promise<void> {
    if (env.BLOBS) console.log(JSON.stringify({ collected: await collectGarbage(env, scheduledTime) }));
  },
};
