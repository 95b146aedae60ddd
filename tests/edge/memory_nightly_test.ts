/** Tests that a layer of 1 GiB passes through the Worker without growing its memory. */

import { describeMemory } from "./describe_memory.ts";

describeMemory(16384, "1 GiB");
