/** The entry point of the Cloudflare Worker: the edge's application, and the classes that the bindings name. */

import { createEdge } from "./app.ts";
import type { EdgeBindings } from "./bindings.ts";
import { collectGarbage } from "./blobs/collect.ts";
import type { ScheduledController } from "./runtime.ts";
import { smallLayers } from "./small_layers.ts";

export { HostsObject, JobObject, JobWorkflow } from "./classes.ts";

// wrangler turns this import into a compiled module. The cast hides it from Deno, which would try to load the module's own imports.
const { default: kernels } = await import("../../build/kernels_single.wasm" as string);

const app = createEdge({ smallLayers: smallLayers(kernels) });

export default {
  fetch: app.fetch,
  async scheduled({ scheduledTime }: ScheduledController, env: EdgeBindings): Promise<void> {
    if (env.BLOBS) console.log(JSON.stringify({ collected: await collectGarbage(env, scheduledTime) }));
  },
};
