/** The body and the answer of `POST /v1/states/{name}/sums`. */

import { firstItems } from "../../base/texts.ts";
import { TARGET, VALIDATION_TARGET } from "../../protocol/blocks/block_names.ts";
import { sameShape } from "../../tensor/dtype.ts";
import { decode } from "../../tensor/safetensors/decode.ts";
import { encodeParts } from "../../tensor/safetensors/encode.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { MalformedAnswerError } from "../errors.ts";
import type { PackedStatistics } from "../layer_file.ts";
import type { SourceLayer } from "../../protocol/run/solve_round.ts";

/** The sums of layers with the same input of n features, over the windows of some hosts. */
export interface LayerSums extends PackedStatistics {
  /** The moments from which the targets of the layers follow, if they have targets: F32 [n or outFeatures, n]. */
  readonly moments?: HostTensor;
  /** The moments of the windows that are held out. */
  readonly validation_moments?: HostTensor;
}

/** The sums that a host answers. */
export interface AddedSums {
  /** The sums over the windows of all hosts so far. */
  readonly sums: LayerSums;
  /** The targets by the names of the weights that were sent. The sums then have no moments. */
  readonly targets: ReadonlyMap<string, Pick<SourceLayer, "target" | "validationTarget">>;
}

/** The further parameters of `BlockHost.addSums` if the layers have targets. */
export interface TargetsRequest {
  /** The number of outputs of the layer. */
  readonly outFeatures: number;
  /** The weights whose targets are wanted, (outFeatures, inFeatures), by their names. Empty unless all windows are added. */
  readonly weights: ReadonlyMap<string, HostTensor>;
}

export interface SumsRequest {
  readonly path: string;
  readonly inFeatures: number;
  readonly targets?: TargetsRequest;
}

export function encodeSums(
  { hessian_upper, validation_hessian_upper, moments, validation_moments }: LayerSums,
  { weights = new Map() }: Partial<TargetsRequest> = {},
): Uint8Array<ArrayBuffer>[] {
  const sums = { hessian_upper, validation_hessian_upper, moments, validation_moments };
  return encodeParts([...Object.entries(sums), ...weights]);
}

/** Returns the shapes that the tensors of an answer may have. */
function shapesOf({ inFeatures: n, targets }: SumsRequest): Map<string, readonly (readonly number[])[]> {
  const triangle = [[n * (n + 1) / 2]], { outFeatures = 0, weights = new Map() } = targets ?? {};
  const shapes = new Map([["hessian_upper", triangle], ["validation_hessian_upper", triangle]]);
  if (!targets) return shapes;
  if (weights.size === 0) {
    for (const name of ["moments", "validation_moments"]) shapes.set(name, [[n, n], [outFeatures, n]]);
  }
  for (const [name, { shape }] of weights) {
    for (const prefix of [TARGET, VALIDATION_TARGET]) shapes.set(prefix + name, [[...shape]]);
  }
  return shapes;
}

/** Returns the most bytes of the tensors of an answer. */
export function countSumsBytes(request: SumsRequest): number {
  const counts = (shapes: readonly (readonly number[])[]) =>
    shapes.map((shape) => shape.reduce((product, extent) => product * extent, 1));
  return [...shapesOf(request).values()].reduce((sum, shapes) => sum + 4 * Math.max(...counts(shapes)), 0);
}

/** @throws {MalformedAnswerError} if the file does not have the sums and the targets in the right form */
export function decodeSums(answer: Uint8Array<ArrayBuffer>, request: SumsRequest): AddedSums {
  const { path, targets } = request;
  const fail = (fault: string, cause?: unknown) =>
    new MalformedAnswerError(`answer of ${path}: ${fault}`, { cause });
  let tensors: ReadonlyMap<string, HostTensor>;
  try {
    ({ tensors } = decode(answer));
  } catch (error) {
    throw fail("is not a safetensors file", error);
  }
  const allowed = shapesOf(request);
  for (const [name, shapes] of allowed) {
    const tensor = tensors.get(name);
    if (!tensor || tensor.dtype === "F32" && shapes.some((shape) => sameShape(tensor.shape, shape))) continue;
    const wanted = shapes.map((shape) => `F32 [${shape}]`).join(" or ");
    throw fail(`the tensor ${name} is ${tensor.dtype} [${firstItems(tensor.shape)}], not ${wanted}`);
  }
  // A host without held-out windows has no sums of such windows.
  const missing = [...allowed.keys()].find((name) => !name.startsWith("validation_") && !tensors.has(name));
  if (missing) throw fail(`the tensor ${missing} is missing`);
  return {
    sums: {
      hessian_upper: tensors.get("hessian_upper"),
      validation_hessian_upper: tensors.get("validation_hessian_upper"),
      moments: tensors.get("moments"),
      validation_moments: tensors.get("validation_moments"),
    },
    targets: new Map(Array.from(targets?.weights.keys() ?? [], (name) => [name, {
      target: tensors.get(TARGET + name),
      validationTarget: tensors.get(VALIDATION_TARGET + name),
    }])),
  };
}
