/** Opens a host, which is Pare's HTTP application that solves layers, inside this process and without a socket. */

import { createApp } from "../../routes/app.ts";
import type { Backend } from "../../src/device/backend.ts";
import { Pare } from "../../src/client/pare.ts";
import type { TransportOptions } from "../../src/client/transport.ts";
import { type BackendChoice, type BackendLibraries, selectBackend } from "../../src/host/backends.ts";
import { startHostServices } from "../../src/host/host_services.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";

/** A host inside this process. */
export interface LocalHost extends AsyncDisposable {
  /** The backend of the host. Forward passes may use it while no layer is being solved. */
  readonly backend: Backend;
  /** How clients reach the host. */
  readonly transport: TransportOptions;
  /** A client of the host. */
  readonly pare: Pare;
  /** Solves layers on the backend without the host. */
  readonly pruner: DevicePruner;
}

/**
 * Opens the host, on a backend of its own or on an open one.
 * @param queueDepth the number of requests that may wait for the device
 */
export async function openLocalHost(
  choice: BackendChoice | Backend,
  libraries: BackendLibraries = {},
  queueDepth = 0,
): Promise<LocalHost> {
  const open = () => typeof choice === "string" ? selectBackend(choice, libraries) : Promise.resolve(choice);
  const services = await startHostServices(open, {
    limits: { leastBytesPerSecond: 0 },
    device: { maxResidentLayers: 1, queueDepth },
  });
  const { device } = services, { backend } = device.session(), app = createApp(services);
  const transport: TransportOptions = {
    baseUrl: "http://in-process",
    application: (request) => app.fetch(request),
    retries: 0,
  };
  return {
    backend,
    transport,
    pare: new Pare(transport),
    pruner: new DevicePruner(backend),
    [Symbol.asyncDispose]: () => device.close(),
  };
}
