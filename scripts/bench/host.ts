/** Requests to a Pare host in a process of its own, timed from outside. */

import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { type Report, reportSchema } from "../../src/protocol/report.ts";
import type { ChildHost } from "../child_host.ts";

/** One solved request, seen from the client. */
export interface Solved {
  readonly report: Report;
  /** From the first byte sent to the last received. */
  readonly wallSeconds: number;
}

/**
 * Sends `body` to be solved and reads the whole answer, by node:http: `fetch` here copies a large body before it sends it, which is the
 * client's time and not the host's.
 * @throws {Error} the host refused it
 */
export async function solveOver(
  host: Pick<ChildHost, "url">,
  body: Uint8Array<ArrayBuffer>,
  query: string,
): Promise<Solved> {
  const started = performance.now();
  const sent = request(new URL(`/v1/layers?${query}`, host.url), {
    method: "POST",
    headers: { "Content-Type": "application/vnd.safetensors", "Content-Length": body.byteLength },
  });
  sent.end(body);
  const [response] = await once(sent, "response") as [IncomingMessage];
  const answer: Uint8Array[] = [];
  for await (const chunk of response) answer.push(chunk);
  const wallSeconds = (performance.now() - started) / 1000;
  if (response.statusCode !== 200) {
    throw new Error(
      `POST /v1/layers?${query}: ${await new Blob(answer as Uint8Array<ArrayBuffer>[]).text()}`,
    );
  }
  return {
    report: reportSchema.parse(JSON.parse(String(response.headers["pare-report"]))),
    wallSeconds,
  };
}
