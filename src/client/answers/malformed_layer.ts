/** The error of an answer that is not the layer that was asked for. */

import type { HostTensor } from "../../tensor/host_tensor.ts";
import { MalformedAnswerError } from "../errors.ts";

/** Returns the error. `fault` says what is wrong, as a clause about the answer. */
export function malformedLayer(fault: string, cause?: unknown): MalformedAnswerError {
  return new MalformedAnswerError(`answer of /v1/layers: ${fault}`, { cause });
}

/** Checks the dtype and the shape of a tensor of the answer. @throws {MalformedAnswerError} */
export function requireForm(
  name: string,
  { dtype, shape }: HostTensor,
  wantedDtype: string,
  wantedShape: readonly number[],
): void {
  if (dtype === wantedDtype && String(shape) === String(wantedShape)) return;
  throw malformedLayer(
    `the tensor ${name} is ${dtype} [${shape}] instead of ${wantedDtype} [${wantedShape}]`,
  );
}
