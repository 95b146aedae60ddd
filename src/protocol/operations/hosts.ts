/** The operation `GET /v1/hosts` at an edge. Hosts use the other methods of the resource, which are not part of the public contract. */

import { z } from "zod";
import { aliveHostSchema } from "../edge/hosts.ts";
import { EDGE_PROBLEMS, json, NO_QUERY, type Operation, WITH_KEY } from "./operation.ts";

/** Lists the hosts that are alive. */
export const LIST_HOSTS = {
  method: "get",
  path: "/v1/hosts",
  operationId: "listHosts",
  summary: "List the hosts that are alive",
  tags: ["Hosts"],
  security: WITH_KEY,
  request: { query: NO_QUERY },
  responses: {
    200: {
      description: "The hosts that have sent a heartbeat within the last half minute",
      content: json(z.object({ hosts: z.array(aliveHostSchema) })),
    },
  },
  problems: EDGE_PROBLEMS,
} satisfies Operation;
