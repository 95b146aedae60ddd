/** Requests to a Pare host in a process of its own, timed from outside. */

import { type Report, reportSchema } from "../../src/protocol/report.ts";
import type { ChildHost } from "../child_host.ts";

/** One solved request, seen from the client. */
export interface Solved {
  readonly report: Report;
  /** From the first byte sent to the last received. */
  readonly wallSeconds: number;
}

/** Sends `body` to be solved and reads the whole answer. @throws {Error} the host refused it */
export async function solveOver(
  host: ChildHost,
  body: Uint8Array<ArrayBuffer>,
  query: string,
): Promise<Solved> {
  const started = performance.now();
  const response = await fetch(new URL(`/v1/layers?${query}`, host.url), {
    method: "POST",
    headers: { "Content-Type": "application/vnd.safetensors" },
    body,
  });
  const answer = await response.arrayBuffer();
  const wallSeconds = (performance.now() - started) / 1000;
  if (!response.ok) throw new Error(`POST /v1/layers?${query}: ${new TextDecoder().decode(answer)}`);
  return {
    report: reportSchema.parse(JSON.parse(response.headers.get("Pare-Report") ?? "null")),
    wallSeconds,
  };
}

/** Peak resident memory of the host so far, in bytes. NaN where the system does not tell. */
export async function peakMemory(host: ChildHost): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${host.pid}/status`).catch(() => "");
  return 1024 * Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? NaN);
}
