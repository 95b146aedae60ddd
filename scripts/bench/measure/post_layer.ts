/** Sends one layer to a host over HTTP and times the exchange from the client's side. */

import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import type { Report } from "../../../src/protocol/messages.ts";
import { reportSchema } from "../../../src/protocol/resources/layers.ts";

export interface TimedAnswer {
  readonly report: Report;
  /** The time from the first byte sent to the last byte received. */
  readonly wallSeconds: number;
}

/**
 * Posts `body` to `/v1/layers?query` of `host` and reads the whole answer. It uses node:http, because `fetch` in Deno copies a
 * large body before it sends it. The measured time would include that copy, in which the host has no part.
 * @param host a server of Pare's API: a GPU host, or an edge (Pare's Cloudflare Worker)
 * @throws {Error} if the status of the answer is not 200. The message holds the answer's body
 */
export async function postLayer(
  host: { readonly url: string },
  body: Uint8Array<ArrayBuffer>,
  query: string,
): Promise<TimedAnswer> {
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

/** @throws {Error} if the reports differ in their zeros or losses, so that they cannot belong to the same layer */
export function requireSameReports(reports: readonly Report[]): void {
  const summaries = reports.map(({ zeros, loss }) => `${zeros} zeros, loss ${loss}`);
  if (new Set(summaries).size > 1) throw new Error(`the answers differ: ${summaries.join("; ")}`);
}
