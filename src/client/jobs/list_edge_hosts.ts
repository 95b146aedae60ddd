/** Asks an edge for the hosts that solve the layers of its jobs. */

import * as z from "zod/mini";
import type { EdgeHost } from "../../protocol/messages.ts";
import { receivedEdgeHost } from "../answers/received.ts";
import { parseAnswer } from "../answers/parse_answer.ts";
import { type CallOptions, Transport, type TransportOptions } from "../transport.ts";
import { PareError } from "../errors.ts";

/**
 * Lists the hosts that are alive. Returns undefined if the server refuses to list hosts. Such a server is a host itself, an edge without a
 * registry of hosts, or an edge where the API key lacks the scope `metrics`.
 * @throws {PareError} {ConnectionError} if the server fails. Transient failures are thrown after the last attempt
 * @throws {TypeError} if the answer is malformed
 */
export async function listEdgeHosts(
  edge: TransportOptions,
  { signal }: CallOptions = {},
): Promise<EdgeHost[] | undefined> {
  const path = "/v1/hosts";
  let answer: Uint8Array<ArrayBuffer>;
  try {
    answer = await new Transport(edge).send({ method: "GET", path, signal });
  } catch (error) {
    if (error instanceof PareError && !error.isTransient && error.status < 500) return undefined;
    throw error;
  }
  return parseAnswer(z.object({ hosts: z.array(receivedEdgeHost) }), answer, path, "a list of hosts").hosts;
}
