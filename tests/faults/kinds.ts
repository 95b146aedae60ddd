/** All kinds of faults, in the order of the table. */

import type { FaultKind } from "./fault_kind.ts";
import { blobFaults } from "./kinds/blob_faults.ts";
import { clientResets } from "./kinds/client_resets.ts";
import { clockJumps } from "./kinds/clock_jumps.ts";
import { deviceLost } from "./kinds/device_lost.ts";
import { diskFull } from "./kinds/disk_full.ts";
import { edgeRestart } from "./kinds/edge_restart.ts";
import { lyingHost } from "./kinds/lying_host.ts";
import { sigkillPrune } from "./kinds/sigkill_prune.ts";
import { sigtermPrune } from "./kinds/sigterm_prune.ts";
import { sigtermServe } from "./kinds/sigterm_serve.ts";
import { workerDeath } from "./kinds/worker_death.ts";

export const KINDS: readonly FaultKind[] = [
  deviceLost,
  workerDeath,
  diskFull,
  sigkillPrune,
  sigtermPrune,
  sigtermServe,
  clientResets,
  clockJumps,
  blobFaults,
  lyingHost,
  edgeRestart,
];
