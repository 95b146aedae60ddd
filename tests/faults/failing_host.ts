/** A host in this process whose device can fail. */

import type { Backend } from "../../src/device/backend.ts";
import { startHostServices } from "../../src/host/host_services.ts";
import { createApp } from "../../routes/app.ts";
import { sleep } from "../../src/base/waiting.ts";
import { layerRequest, requireSameAnswer } from "./fault_layer.ts";
import { require } from "./fault_kind.ts";

const REOPEN_MILLISECONDS = 30_000;

export interface FailingHost extends AsyncDisposable {
  /** Solves a layer. Returns undefined if the host reports that its device was lost. */
  solve(body: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Checks that the host has opened the device again and then gives the right answer. */
  requireRecovery(body: Uint8Array<ArrayBuffer>, expected: Uint8Array<ArrayBuffer>): Promise<void>;
}

/** Starts the host. `open` opens a backend, at the start and after every loss. */
export async function startFailingHost(open: () => Promise<Backend>): Promise<FailingHost> {
  const services = await startHostServices(open), app = createApp(services), { device } = services;
  const solve = async (body: Uint8Array<ArrayBuffer>) => {
    const response = await app.request("/v1/layers", layerRequest(body));
    if (response.status === 200) return await response.bytes().catch(() => undefined); // lost in mid-answer
    const text = await response.text();
    require(response.status === 503, `${response.status} ${text}`);
    require(JSON.parse(text).code === "device_lost", text);
    require(/^[1-9]\d*$/.test(response.headers.get("Retry-After") ?? ""), "there is no Retry-After");
    return undefined;
  };
  return {
    solve,
    async requireRecovery(body, expected) {
      for (const end = performance.now() + REOPEN_MILLISECONDS; !device.current(); await sleep(5)) {
        require(performance.now() < end, "the device was not opened again");
      }
      const answer = await solve(body);
      require(answer !== undefined, "the next request found a lost device");
      requireSameAnswer(answer, expected);
      // The last buffers are freed after the answer was read.
      for (let wait = 0; wait < 200 && device.current()?.backend.counters.bytesLive; wait++) await sleep(5);
      require(device.current()?.backend.counters.bytesLive === 0, "buffers of the device are left");
    },
    [Symbol.asyncDispose]: () => device.close(),
  };
}
