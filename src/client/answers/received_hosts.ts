/** The schemas of the answers that describe hosts, as the client reads them. Members that the client does not use are dropped. */

import * as z from "zod/mini";
import type { EdgeHost } from "../../protocol/answers/hosts.ts";

/** The schema of the answer of `/readyz`. */
export const receivedReadiness: z.ZodMiniType<{ backend: string; adapter: { name: string } }> = z.object({
  backend: z.string(),
  adapter: z.object({ name: z.string() }),
});

/** The schema of the answer of `/v1/hosts`. */
export const receivedHosts: z.ZodMiniType<{ hosts: EdgeHost[] }> = z.object({
  hosts: z.array(z.object({ url: z.string(), backend: z.string(), adapter: z.string() })),
});
