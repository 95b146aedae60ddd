/** The GPU hosts that an edge gives layers of jobs to. */

import { z } from "zod";
import type { CallOptions } from "../call_options.ts";
import { PareError } from "../errors.ts";
import { Transport, type TransportOptions } from "../transport.ts";

const listSchema = z.object({
  hosts: z.array(z.object({ url: z.string(), backend: z.string(), adapter: z.string() })),
});

/** A host that is alive. */
export type EdgeHost = z.infer<typeof listSchema>["hosts"][number];

/**
 * The hosts that are alive; undefined where the answer does not tell: it comes from a host, from an edge that has no registry, or from one
 * whose key is not good for the question (scope `metrics`).
 * @throws {PareError} {ConnectionError} the answer may be another later, after the retries
 */
export async function edgeHosts(
  edge: TransportOptions,
  { signal }: CallOptions = {},
): Promise<EdgeHost[] | undefined> {
  let answer: Uint8Array<ArrayBuffer>;
  try {
    answer = await new Transport(edge).send({ method: "GET", path: "/v1/hosts", signal });
  } catch (error) {
    if (error instanceof PareError && !error.passing && error.status < 500) return undefined;
    throw error;
  }
  try {
    return listSchema.parse(JSON.parse(new TextDecoder().decode(answer))).hosts;
  } catch (cause) {
    throw new TypeError("answer of /v1/hosts: is no list of hosts", { cause });
  }
}
