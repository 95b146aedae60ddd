/** The module of the worker in which a server runs the WebGPU backend: see `RemoteBackend` for why. */

import { type Port, serveBackend } from "../backend/backend_server.ts";
import { KERNELS } from "../kernels/kernels.ts";
import { createWebGpuBackend } from "./backend.ts";
import { tuningFor } from "./tuning.ts";

await serveBackend(self as unknown as Port, () => createWebGpuBackend({ warm: KERNELS, tuning: tuningFor }));
