/** Sends one layer to a host over HTTP and times the exchange from the client's side. */

import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { type Report, reportSchema } from "../../../src/protocol/report.ts";

/** One solved layer. */
export interface TimedAnswer {
  readonly report: Report;
  /** From the first byte sent to the last byte received. */
  readonly wallSeconds: number;
}

/**
 * Posts `body` to `/v1/layers?query` of `host` and reads the whole answer. It uses node:http, because `fetch` in Deno copies
 * a large body before it sends it. That copy is the client's time and not the host's.
 * @param host anything that listens: a GPU host or an edge
 * @throws {Error} if the host answers with another status than 200. The message holds the answer's body
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
