/**
 * Opens a WebGPU backend behind a message port, as a host does, but in the thread of the caller, so that the counter
 * of the bench sees both sides of the port. Arrays move through the port as they move to a worker.
 */

import type { Backend } from "../../../src/device/backend.ts";
import { serveBackend } from "../../../src/device/backend_server.ts";
import { connectBackend, type RemotePort } from "../../../src/device/remote_backend.ts";
import { createWebGpuBackend, type WebGpuBackend } from "../../../src/device/webgpu/backend.ts";
import type { WebGpuOptions } from "../../../src/device/webgpu/webgpu_options.ts";

/**
 * Opens the backend.
 * @param onOpen is called with the real backend, so that a test can make it fail
 * @throws {NoAdapterError} if the machine has no adapter
 */
export function openBehindPort(
  options: WebGpuOptions = {},
  onOpen: (real: WebGpuBackend) => void = () => {},
): Promise<Backend> {
  const { port1, port2 } = new MessageChannel();
  const clientPort: RemotePort = Object.assign(port1, { terminate: () => (port1.close(), port2.close()) });
  const connected = connectBackend(clientPort);
  void serveBackend(port2, async () => {
    const real = await createWebGpuBackend(options);
    onOpen(real);
    return real;
  });
  port1.start();
  port2.start();
  return connected;
}
