/** Starts `measured_host.ts` in a process of its own. */

import { fileURLToPath } from "node:url";
import { LineProcess } from "../../processes/line_process.ts";
import type { BenchDevice } from "../report/results_file.ts";

/** A running host. It runs until it is disposed of. */
export interface MeasuredHost extends BenchDevice, AsyncDisposable {
  readonly url: string;
}

const SCRIPT = fileURLToPath(new URL("measured_host.ts", import.meta.url));

/** Starts the host and waits until it listens. @throws {Error} if the host does not start. The host prints the reason to standard error */
export async function startMeasuredHost(): Promise<MeasuredHost> {
  const child = new LineProcess(Deno.execPath(), ["run", "-A", "--quiet", SCRIPT, "cpu"]);
  return { ...JSON.parse(await child.next()), [Symbol.asyncDispose]: () => child.stop() };
}
