/** The worker module in which a server runs the WebGPU backend. `src/backend/remote_backend.ts` explains why. */

import { type Port, serveBackend } from "../backend/backend_server.ts";
import { KERNELS } from "../kernels/kernels.ts";
import { createWebGpuBackend } from "./backend.ts";
import { tuningFor } from "./tuning.ts";

await serveBackend(self as unknown as Port, () => createWebGpuBackend({ warm: KERNELS, tuning: tuningFor }));
