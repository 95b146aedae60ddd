/**
 * A host within this process, without a socket: the commands solve through the application that serves HTTP, so that
 * what they write is what a server's answers would have made.
 */

import type { Backend } from "../backend/backend.ts";
import { Pare } from "../client/pare.ts";
import { Device } from "../host/device.ts";
import { MAX_BODY_BYTES } from "../protocol/limits.ts";
import { VERSION } from "../protocol/version.ts";
import { createApp } from "../../routes/app.ts";
import { type BackendChoice, selectBackend } from "../host/backends.ts";
import { HostMetrics } from "../host/metrics.ts";

/** The longest a timer can wait, in milliseconds: bodies from this process do not stall. */
const NEVER_IDLE = 2 ** 31 - 1;

/** A host of one's own. */
export interface LocalHost extends AsyncDisposable {
  /** The backend it solves on; free for a forward while it does not. */
  readonly backend: Backend;
  readonly pare: Pare;
}

/** Opens one. @throws the reason why the backend cannot be had */
export async function openLocalHost(choice: BackendChoice): Promise<LocalHost> {
  const clock = () => performance.now();
  // One client that sends one layer at a time: nothing waits.
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
