/** The Cloudflare Worker: gives the edge's application to the Workers runtime, and the classes that its bindings name. */

import { createEdge } from "./app.ts";
import type { EdgeBindings } from "./bindings.ts";
import { collectGarbage } from "./blobs/collect.ts";
import type { ScheduledController } from "./runtime.ts";
import { smallLayers } from "./small_layers.ts";

export { HostsObject, JobObject, JobWorkflow } from "./classes.ts";

// wrangler makes a compiled module of the literal; the `as` hides it from Deno, which would load the kernels' own imports.
const { default: kernels } = await import("../../build/kernels_single.wasm" as string);

const app = createEdge({ smallLayers: smallLayers(kernels) });

export default {
  fetch: app.fetch,
  async scheduled({ scheduledTime }: ScheduledController, env: EdgeBindings): Promise<void> {
    if (env.BLOBS) console.log(JSON.stringify({ collected: await collectGarbage(env, scheduledTime) }));
  },
};
