/** Compares every family with transformers on WebGPU, as `transformers_test.ts` does on the CPU. */

import { onWebGpu } from "../../support/backends.ts";
import { compareFamilies } from "../../support/compare_families.ts";

onWebGpu("the families of transformers on webgpu", compareFamilies);
