/** A Pare host in a process of its own, for benches. */

import { fileURLToPath } from "node:url";
import { type Report, reportSchema } from "../../src/protocol/report.ts";
import { LineProcess } from "./lines.ts";

/** One solved request, seen from the client. */
export interface Solved {
  readonly report: Report;
  /** From the first byte sent to the last received. */
  readonly wallSeconds: number;
}

export class Host {
  readonly #process: LineProcess;
  readonly url: string;
  /** Backend and adapter, as /readyz names them. */
  readonly backend: string;

  private constructor(process: LineProcess, url: string, backend: string) {
    this.#process = process;
    this.url = url;
    this.backend = backend;
  }

  static async start(backend: string): Promise<Host> {
    const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
    const args = ["run", "-A", main, "serve", "--port", "0", "--backend", backend, "--json"];
    const process = new LineProcess(Deno.execPath(), args);
    const { url } = JSON.parse(await process.next());
    const ready = await (await fetch(new URL("/readyz", url))).json();
    return new Host(process, url, `${ready.backend}: ${ready.adapter}`);
  }

  /** Sends `body` to be solved and reads the whole answer. */
  async solve(body: Uint8Array<ArrayBuffer>, query: string): Promise<Solved> {
    const started = performance.now();
    const response = await fetch(new URL(`/v1/layers?${query}`, this.url), {
      method: "POST",
      headers: { "Content-Type": "application/vnd.safetensors" },
      body,
    });
    const { byteLength } = await response.arrayBuffer();
    const wallSeconds = (performance.now() - started) / 1000;
    if (!response.ok) throw new Error(`POST /v1/layers?${query}: ${response.status} (${byteLength} bytes)`);
    return {
      report: reportSchema.parse(JSON.parse(response.headers.get("Pare-Report") ?? "null")),
      wallSeconds,
    };
  }

  /** Peak resident memory of the host so far, in bytes. */
  async peakMemory(): Promise<number> {
    const status = await Deno.readTextFile(`/proc/${this.#process.pid}/status`).catch(() => "");
    return 1024 * Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? NaN);
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }
}
