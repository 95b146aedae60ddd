/** Tests that a layer of 64 MiB passes through the Worker without growing its memory. */

import { describeMemory } from "./describe_memory.ts";

describeMemory(4096, "64 MiB");
