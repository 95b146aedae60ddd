/**
 * The self-check of a device. It runs every kernel on fixed operands and compares the results with committed numbers,
 * which float64 code has computed (`tests/host/self_check/`).
 */

import type { Backend } from "../../device/backend.ts";
import { ALL_CASES } from "./cases.ts";
import expectedJson from "./expected.json" with { type: "json" };
import type { ResultFingerprint } from "./fingerprint.ts";
import { LAYER_CASES, type LayerCase, solveCase } from "./layer_cases.ts";
import { type CaseFault, type CheckCase, expectedName, findFault, runCase } from "./run_case.ts";

/** The committed fingerprints, by the names of the cases and their outputs. */
const EXPECTED: Readonly<Record<string, Readonly<Record<string, ResultFingerprint>>>> = expectedJson;

/**
 * The number of cases that are queued together, so that the threads of the CPU are seldom woken. Its memory never shrinks,
 * and all cases at once would need 56 MB of it. A GPU reports errors late, so they could name another case of the group.
 */
const CASES_AT_ONCE: Readonly<Record<Backend["kind"], number>> = { cpu: 4, webgpu: 1 };

/** The device computes wrong results. It must not be used. */
export class SelfCheckError extends Error {
  override name = "SelfCheckError";

  /** @param kernels the names of the kernels with wrong results */
  constructor(message: string, readonly kernels: readonly string[]) {
    super(message);
  }
}

/**
 * Checks every kernel on a device, and then whole layers. The memory that the check needs is free afterwards.
 * @throws {SelfCheckError} naming the adapter and the kernels with wrong results
 * @throws {DeviceLostError} if the device is lost
 * @throws {OutOfDeviceMemoryError} if the device has too little free memory
 */
export async function selfCheck(
  backend: Backend,
  cases: readonly CheckCase[] = ALL_CASES,
  layers: readonly LayerCase[] = LAYER_CASES,
): Promise<void> {
  const faults: CaseFault[] = [];
  const needed = cases.filter((checkCase) => (checkCase.backend ?? backend.kind) === backend.kind);
  const atOnce = CASES_AT_ONCE[backend.kind];
  for (let i = 0; i < needed.length; i += atOnce) {
    const results = needed.slice(i, i + atOnce).map((checkCase) =>
      runCase(backend, checkCase, EXPECTED[expectedName(checkCase, backend.adapter)])
    );
    faults.push(...(await Promise.all(results)).filter((fault) => fault !== undefined));
  }
  if (faults.length > 0) throw describeFaults(backend, faults);
  // If a kernel is wrong, its name says more than the layers that it spoils. So the layers are solved last.
  for (const layerCase of layers) {
    const { name, outputs } = layerCase, compute = () => solveCase(backend, layerCase);
    const fault = await findFault({ name, subject: name, outputs }, EXPECTED[name], compute);
    if (fault) throw describeFaults(backend, [fault]);
  }
}

function describeFaults({ kind, adapter }: Backend, faults: readonly CaseFault[]): SelfCheckError {
  const [first, ...others] = new Set(faults.map(({ subject }) => subject));
  const more = others.length === 0 ? "" : `. Other kernels with wrong results: ${others.join(", ")}`;
  return new SelfCheckError(
    `the device ${adapter.name} (backend ${kind}) computes wrong results: kernel ${faults[0].message}${more}`,
    [first, ...others],
  );
}
