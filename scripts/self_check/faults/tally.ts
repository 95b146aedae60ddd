/**
 * Plants faults in every kernel and counts how many of them the self-check refuses. On the `cpu` backend the results of
 * the kernels are falsified, and on WebGPU their shaders are changed.
 */

import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import { KERNELS } from "../../../src/device/kernels/kernels.ts";
import { createWebGpuBackend } from "../../../src/device/webgpu/backend.ts";
import { possibleShaders, type Tiling } from "../../../src/device/webgpu/tuning.ts";
import { reasonWhyEquivalent } from "./equivalent_faults.ts";
import { checkFaulty, hasEffect, type Verdict, withKernel } from "./plant.ts";
import { allResultFaults, withResultFault } from "./result_faults.ts";
import { shaderFaults } from "./wgsl_faults.ts";

/** The verdicts on many faults, and the descriptions of the faults that were accepted. */
interface Tally {
  readonly counts: Record<Verdict, number>;
  readonly accepted: string[];
}

const emptyTally = (): Tally => ({
  counts: { refused: 0, accepted: 0, uncompiled: 0, ineffective: 0 },
  accepted: [],
});

function add(tally: Tally, verdict: Verdict, description: string): void {
  tally.counts[verdict]++;
  if (verdict === "accepted") tally.accepted.push(description);
}

/** Falsifies every output of every kernel of the `cpu` backend in every way. */
export async function tallyResultFaults(): Promise<Tally> {
  const backend = await createCpuBackend(), tally = emptyTally();
  for (const planted of allResultFaults()) {
    let isEffective = false;
    const faulty = withResultFault(backend, planted, () => isEffective = true);
    const verdict = await checkFaulty(faulty, planted.kernel);
    add(
      tally,
      isEffective ? verdict : "ineffective",
      `${planted.kernel.name}, ${planted.binding}: ${planted.fault}`,
    );
  }
  await backend.dispose();
  return tally;
}

/** Plants every fault in the shader of every kernel, or of some kernels, for this kind of adapter. */
export async function tallyShaderFaults(
  tiling: Tiling,
  kernels: readonly Kernel[] = KERNELS,
): Promise<Tally> {
  const backend = await createWebGpuBackend({ tiling }), tally = emptyTally();
  for (const kernel of kernels) {
    for (const fault of shaderFaults(kernel, possibleShaders(kernel, tiling, {}, 0)[0])) {
      let verdict = await checkFaulty(withKernel(backend, fault.kernel), kernel);
      const isHarmless = async () =>
        reasonWhyEquivalent(fault, tiling) !== undefined ||
        // A device that runs the invocations of a workgroup one after the other may not need a barrier.
        (fault.kind === "missing barrier" && !await hasEffect(backend, kernel, fault.kernel));
      if (verdict === "accepted" && await isHarmless()) verdict = "ineffective";
      add(tally, verdict, `${fault.description} (${fault.kind})`);
    }
  }
  await backend.dispose();
  return tally;
}
