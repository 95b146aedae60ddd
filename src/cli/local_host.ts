/**
 * Opens a host inside this process, without a socket. The commands solve layers through the same application that serves HTTP,
 * so their results are the same as those of a server.
 */

import type { Backend } from "../backend/backend.ts";
import { Pare } from "../client/pare.ts";
import { Device } from "../host/device.ts";
import { MAX_BODY_BYTES } from "../protocol/limits.ts";
import { VERSION } from "../protocol/version.ts";
import { createApp } from "../../routes/app.ts";
import { type BackendChoice, selectBackend } from "../host/backends.ts";
import { HostMetrics } from "../host/metrics.ts";

/** The longest possible timeout, in milliseconds, because bodies from this process never stall. */
const NEVER_IDLE = 2 ** 31 - 1;

/** A host inside this process. */
export interface LocalHost extends AsyncDisposable {
  /** The backend of the host. Forward passes may use it while no layer is being solved. */
  readonly backend: Backend;
  /** A client of the host. */
  readonly pare: Pare;
}

/** Opens the host. @throws the error of the backend if it cannot be opened */
export async function openLocalHost(choice: BackendChoice): Promise<LocalHost> {
  const clock = () => performance.now();
  // The only client sends one layer at a time, so the queue stays empty.
  const device = new Device(() => selectBackend(choice), { residents: 1, queueDepth: 0, clock });
  await device.start();
  const { backend } = device.session();
  const app = createApp({
    device,
    metrics: new HostMetrics(device),
    keys: [],
    log: () => {},
    clock,
    limits: { maxBodyBytes: MAX_BODY_BYTES, idleMilliseconds: NEVER_IDLE },
    version: VERSION,
  });
  return {
    backend,
    pare: new Pare({ baseUrl: "http://in-process", fetch: (request) => app.fetch(request), retries: 0 }),
    [Symbol.asyncDispose]: () => device.close(),
  };
}
