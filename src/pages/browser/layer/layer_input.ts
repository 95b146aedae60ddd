/** Reads the layer of the playground from a safetensors file. */

import { decode, type HostTensor, type LayerTensors } from "../../../client/mod.ts";
import { formatBytes } from "../format.ts";

/** A layer that can be sent. */
export interface LayerInput {
  readonly name: string;
  readonly tensors: LayerTensors;
}

/** The tensors of a request. A file with any others is no layer. */
const NAMES = ["weight", "hessian", "hessian_upper", "inputs", "mask"];

/** Reads a layer. @throws {SafetensorsError} if the file is malformed @throws {TypeError} if its tensors are not those of a layer */
export function readLayer(name: string, bytes: Uint8Array<ArrayBuffer>): LayerInput {
  const { tensors } = decode(bytes), names = [...tensors.keys()];
  const weight = tensors.get("weight"), others = names.filter((other) => !NAMES.includes(other));
  if (weight === undefined || others.length > 0) {
    const listed = names.length > 8 ? [...names.slice(0, 8), "…"] : names;
    throw new TypeError(
      `${name}: must have the tensor weight and only tensors of ${NAMES.join(", ")}, but has ${
        listed.join(", ") || "none"
      }`,
    );
  }
  return { name, tensors: { weight, ...Object.fromEntries(tensors) } };
}

/** Describes a layer in one line. */
export function describeLayer({ name, tensors }: LayerInput): string {
  const parts = Object.entries(tensors).map(([part, tensor]) => describeTensor(part, tensor));
  const bytes = Object.values(tensors).reduce((sum, { data }: HostTensor) => sum + data.byteLength, 0);
  return `${name}: ${parts.join(", ")} (${formatBytes(bytes)})`;
}

function describeTensor(name: string, { dtype, shape }: HostTensor): string {
  return `${name} ${shape.join(" × ")} ${dtype}`;
}
