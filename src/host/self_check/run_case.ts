import {
  type Adapter,
  type Backend,
  type DeviceBuffer,
  DeviceLostError,
  OutOfDeviceMemoryError,
} from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { Kernel, RoundedOperands } from "../../device/kernels/kernel.ts";
import type { CaseOutput, Values } from "../../device/kernels/kernel_case.ts";
import { messageOf } from "../../base/errors.ts";
import { describeDifference, type ResultFingerprint } from "./fingerprint.ts";

/** One dispatch of a case. */
export interface Step {
  readonly kernel: Kernel;
  readonly params: Readonly<Record<string, number>>;
  /** The names of the buffers that are bound, by the names of the kernel's bindings. */
  readonly buffers: Readonly<Record<string, string>>;
}

/** Dispatches with fixed operands, one after the other. */
export interface CheckCase {
  /** A name for messages, and the key of the committed numbers. Unique. */
  readonly name: string;
  /** The kernel that the case checks, or a description of several kernels. */
  readonly subject: string;
  /** The kind of backend that has code which no other case reaches. @default every kind */
  readonly backend?: Backend["kind"];
  readonly steps: readonly Step[];
  /** Returns the contents of all buffers before the first dispatch. */
  readonly buffers: () => Readonly<Record<string, Values>>;
  /** The compared results, by a name that is unique in the case. `CaseOutput.binding` is the name of a buffer. */
  readonly outputs: Readonly<Record<string, CaseOutput>>;
}

/** Returns how an adapter that rounds operands computes a case, or undefined if it rounds no operands of this case. */
export function roundedOperands(
  { steps: [{ kernel: { rounded }, params }, ...others] }: CheckCase,
): RoundedOperands | undefined {
  if (others.length > 0 || !rounded) return undefined;
  return rounded.isWorthwhile?.(params) ?? true ? rounded : undefined;
}

/** Returns the key of the committed numbers of a case. An adapter that rounds the operands has numbers of its own. */
export function expectedName(checkCase: CheckCase, { rounds }: Pick<Adapter, "rounds">): string {
  return rounds && roundedOperands(checkCase) ? `${checkCase.name}, in ${rounds}` : checkCase.name;
}

/** A wrong result. */
export interface CaseFault {
  /** The name of the kernel, or the description of several kernels. */
  readonly subject: string;
  /** A phrase with the name of the case, the output and the difference. */
  readonly message: string;
}

/**
 * Runs a case and compares its outputs.
 * @returns the first wrong output, or undefined if all are right
 * @throws {DeviceLostError} {OutOfDeviceMemoryError}
 */
export function runCase(
  backend: Backend,
  checkCase: CheckCase,
  expected: Readonly<Record<string, ResultFingerprint>>,
): Promise<CaseFault | undefined> {
  const { subject, steps, buffers, outputs } = checkCase;
  const { roundings = 0 } = backend.adapter.rounds && roundedOperands(checkCase) || {};
  return findFault(checkCase, expected, async () => {
    using owned = new ResourceSet();
    const contents = buffers(), onDevice: Record<string, DeviceBuffer> = {};
    for (const [binding, values] of Object.entries(contents)) {
      const buffer = backend.createBuffer(`self-check of ${subject}: ${binding}`, values.byteLength);
      onDevice[binding] = owned.add(buffer);
      backend.write(buffer, 0, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
    for (const { kernel, params, buffers: bound } of steps) {
      const operands = Object.entries(bound).map(([binding, buffer]) => [binding, onDevice[buffer]]);
      backend.dispatch(kernel, Object.fromEntries(operands), params);
    }
    const results = Object.values(outputs).map(async ({ binding }) => {
      const buffer = onDevice[binding], bytes = await backend.read(buffer, 0, buffer.byteLength);
      return [binding, typedLike(contents[binding], bytes)] as const;
    });
    return Object.fromEntries(await Promise.all(results));
  }, roundings);
}

/**
 * Computes results and compares them with the expected ones.
 * @param compute returns the results by the bindings of `outputs`
 * @param further roundings of each output besides its own, if it is not exact
 * @returns the first wrong result, or undefined if all are right
 * @throws {DeviceLostError} {OutOfDeviceMemoryError}
 */
export async function findFault(
  { name, subject, outputs }: Pick<CheckCase, "name" | "subject" | "outputs">,
  expected: Readonly<Record<string, ResultFingerprint>>,
  compute: () => Promise<Readonly<Record<string, Values>>>,
  further = 0,
): Promise<CaseFault | undefined> {
  try {
    const results = await compute();
    for (const [output, { binding, roundings, includes }] of Object.entries(outputs)) {
      const comparison = { roundings: roundings && roundings + further, includes };
      const difference = describeDifference(results[binding], expected[output], comparison);
      if (difference !== undefined) return { subject, message: `${name}, output ${output}: ${difference}` };
    }
  } catch (error) {
    if (error instanceof DeviceLostError || error instanceof OutOfDeviceMemoryError) throw error;
    return { subject, message: `${name}: ${messageOf(error)}` };
  }
}

/** Returns a view of `bytes` with the type and length of `values`. */
function typedLike(values: Values, bytes: Uint8Array<ArrayBuffer>): Values {
  return values instanceof Float32Array
    ? new Float32Array(bytes.buffer, bytes.byteOffset, values.length)
    : new Uint32Array(bytes.buffer, bytes.byteOffset, values.length);
}
