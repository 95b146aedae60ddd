/**
 * The main module of the worker in which a server runs the WebGPU backend, so that waiting for the GPU does not block
 * the server's event loop (see `device/remote_backend.ts`). All kernels are compiled before the backend is ready. The
 * worker has the name of the implementation of WebGPU.
 */

import { type Port, serveBackend } from "../backend_server.ts";
import { KERNELS } from "../kernels/kernels.ts";
import { createWebGpuBackend } from "./backend.ts";
import { parseRuntime } from "./runtimes/runtime.ts";

await serveBackend(
  self as unknown as Port,
  () =>
    createWebGpuBackend({
      runtime: parseRuntime(self.name, "the worker named"),
      warm: KERNELS,
    }),
);
