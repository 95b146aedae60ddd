/**
 * Tests that the self-check refuses a device with a fault in any kernel. On the cpu backend the results of the kernels are
 * falsified, and on WebGPU their shaders are changed.
 */

import { deepStrictEqual, ok } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { KERNELS } from "../../../src/device/kernels/kernels.ts";
import { tallyResultFaults, tallyShaderFaults } from "../../../scripts/self_check/faults/tally.ts";
import { shaderFaults } from "../../../scripts/self_check/faults/wgsl_faults.ts";
import { webgpuSkipReason } from "../../support/backends.ts";

describe("a fault in a kernel", () => {
  it("is refused in every output of every kernel of the cpu backend", async () => {
    const { counts, accepted } = await tallyResultFaults();
    deepStrictEqual(accepted, []);
    ok(counts.refused > 7 * KERNELS.length, `${counts.refused} faults`);
  });

  // Kernels that have one shader for both kinds of adapters are checked once.
  const kernels = { software: KERNELS, discrete: KERNELS.filter((kernel) => kernel.softwareShader) };
  for (const tiling of ["software", "discrete"] as const) {
    const skip = webgpuSkipReason;
    it(
      `is refused in every shader for ${tiling} adapters${skip ? `: skipped, ${skip}` : ""}`,
      { skip: skip ?? false },
      async () => {
        const { counts, accepted } = await tallyShaderFaults(tiling, kernels[tiling]);
        deepStrictEqual(accepted, []);
        ok(counts.refused > 3 * kernels[tiling].length, `${counts.refused} faults`);
      },
    );
  }
});

describe("shaderFaults()", () => {
  const faults = KERNELS.flatMap((kernel) => shaderFaults(kernel, kernel.shader));

  it("changes constants, ends loops early and removes barriers", () => {
    for (const kind of ["wrong constant", "loop cut short", "missing barrier"]) {
      ok(faults.filter((fault) => fault.kind === kind).length > 30, kind);
    }
  });

  it("changes one place of the shader at a time", () => {
    for (const { kernel } of faults) {
      const original = KERNELS.find(({ name }) => name === kernel.name)!.shader.code;
      ok(kernel.shader.code !== original && kernel.softwareShader === undefined);
    }
  });
});
