/** Reads the layer of the playground from a safetensors file. */

import { decode, type HostTensor, type LayerTensors } from "../../../client/mod.ts";
import { type MethodName, METHODS } from "../../../protocol/methods.ts";
import { formatBytes } from "../format.ts";

/** A layer that can be sent. */
export interface LayerInput {
  readonly name: string;
  readonly tensors: LayerTensors;
}

/** The tensors of a request that the playground accepts. A layer has one of the statistics. */
const STATISTICS = ["hessian", "hessian_upper", "inputs"], NAMES = ["weight", ...STATISTICS, "mask"];

/** The largest header that is read. The format allows no larger one. */
const MAX_HEADER_BYTES = 100_000_000;

/** Enough bytes of a malformed file to find the fault of its header. */
const MALFORMED_BYTES = 1 << 20;

/** Reads a layer. @throws {SafetensorsError} {TypeError} if the file is malformed, or if it is not a layer */
export async function readLayerFile(name: string, file: Blob): Promise<LayerInput> {
  // The shards of a model are larger than the memory of a browser tab, so the header is read first.
  const names = await namesInHeader(file);
  if (names) requireLayer(name, names);
  const content = names ? file : file.slice(0, MALFORMED_BYTES);
  const { tensors } = decode(new Uint8Array(await content.arrayBuffer()));
  requireLayer(name, [...tensors.keys()]);
  return { name, tensors: { weight: tensors.get("weight")!, ...Object.fromEntries(tensors) } };
}

/** Returns the names of all tensors, or undefined if the header is malformed. */
async function namesInHeader(file: Blob): Promise<string[] | undefined> {
  try {
    const prefix = new DataView(await file.slice(0, 8).arrayBuffer());
    const length = Number(prefix.getBigUint64(0, true));
    if (length > MAX_HEADER_BYTES) return undefined;
    const header: object = JSON.parse(await file.slice(8, 8 + length).text());
    return Object.keys(header).filter((name) => name !== "__metadata__");
  } catch {
    return undefined;
  }
}

function requireLayer(file: string, names: readonly string[]): void {
  const others = names.filter((name) => !NAMES.includes(name));
  if (names.includes("weight") && others.length === 0) return;
  if (others.filter((name) => name.endsWith(".weight")).length > 1) {
    throw new TypeError(
      `${file}: this is a whole model, with ${names.length} tensors. The playground prunes one layer; use \`pare prune\` for a model`,
    );
  }
  const listed = names.length > 8 ? [...names.slice(0, 8), "…"] : names;
  throw new TypeError(
    `${file}: must have the tensor weight and only tensors of ${NAMES.join(", ")}, but has ${
      listed.join(", ") || "none"
    }`,
  );
}

/** @throws {TypeError} if the method needs statistics, and the layer has none */
export function requireStatistics({ name, tensors }: LayerInput, method: MethodName): void {
  const { title, statistics } = METHODS[method];
  if (statistics === "none" || STATISTICS.some((tensor) => Object.hasOwn(tensors, tensor))) return;
  throw new TypeError(
    `${name}: has no statistics, which ${title} needs. Choose ${METHODS.magnitude.title}, or add the tensor inputs or hessian`,
  );
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
