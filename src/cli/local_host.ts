/**
 * Opens a host, which is Pare's HTTP application that solves layers, inside this process and without a
 * socket. The commands solve layers through this application, so their results are the same as those of a
 * server.
 */

import type { Backend } from "../backend/backend.ts";
import { Pare } from "../client/pare.ts";
import { type BackendChoice, type BackendLibraries, selectBackend } from "../host/backends.ts";
import type { LogEntry } from "../host/log_entry.ts";
import { startHostServices } from "../host/host_services.ts";
import { messageOf } from "../text/message_of.ts";
import { createApp } from "../../routes/app.ts";
import { RefusedError } from "./errors.ts";

/** A host inside this process. */
export interface LocalHost extends AsyncDisposable {
  /** The backend of the host. Forward passes may use it while no layer is being solved. */
  readonly backend: Backend;
  /** A client of the host. */
  readonly pare: Pare;
}

/** Opens a backend for forward passes. @throws {RefusedError} if this machine does not have it */
export async function openBackend(
  choice: BackendChoice,
  { blas, webgpu }: BackendLibraries = {},
): Promise<Backend> {
  try {
    return await selectBackend(choice, { blas, webgpu, log: printRefusal });
  } catch (error) {
    throw new RefusedError(`option --backend ${choice}: ${messageOf(error)}`, { cause: error });
  }
}

/** Says on standard error why another backend than the GPU is used. */
function printRefusal({ reason, instead }: LogEntry): void {
  console.error(`${reason}. The backend ${instead} is used instead.`);
}

/** Opens the host. @throws {RefusedError} if this machine does not have the backend */
export async function openLocalHost(
  choice: BackendChoice,
  { blas, webgpu }: BackendLibraries = {},
): Promise<LocalHost> {
  const services = await startHostServices(() => selectBackend(choice, { blas, webgpu, log: printRefusal }), {
    // This process sends the bodies and takes the answers itself, so they need no minimum rate.
    limits: { leastBytesPerSecond: 0 },
    // The only client sends one layer at a time, so the queue stays empty.
    device: { maxResidentLayers: 1, queueDepth: 0 },
  });
  const { device } = services, reason = device.unavailableReason();
  if (reason) throw new RefusedError(`option --backend ${choice}: ${reason.message}`, { cause: reason });
  const { backend } = device.session();
  const app = createApp(services);
  return {
    backend,
    pare: new Pare({
      baseUrl: "http://in-process",
      application: (request) => app.fetch(request),
      retries: 0,
    }),
    [Symbol.asyncDispose]: () => device.close(),
  };
}
