/** The safetensors files that carry one layer: the body of a request to prune it, and the body of the answer. */

import type { Report } from "../protocol/answers/report.ts";
import { decode } from "../safetensors/decode.ts";
import { encodeHeader } from "../safetensors/encode.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { QuantizedWeight } from "../tensor/quantized_weight.ts";
import { receivedReport } from "./answers/received_report.ts";

/**
 * The tensors of one layer, named as in the HTTP contract. Exactly one of `hessian`, `hessian_upper` and
 * `inputs` must be given, unless the method needs no statistics or the query names statistics that the host
 * has stored. In the shapes, `out` and `in` are the numbers of output and input features.
 */
export interface LayerTensors {
  /** The weights: (out, in), F32, F16 or BF16. */
  readonly weight: HostTensor;
  /** The sum of x·xᵀ over the calibration inputs x, times any positive factor: (in, in), F32. */
  readonly hessian?: HostTensor;
  /** The upper triangle of `hessian`, packed row by row: (in·(in+1)/2), F32. */
  readonly hessian_upper?: HostTensor;
  /** The calibration inputs: (tokens, in), F32, F16 or BF16. */
  readonly inputs?: HostTensor;
  /**
   * An optional mask. A weight whose entry is 0 is set to zero. Shape and dtype are (out, ⌈in/8⌉) U8 bits, or
   * (out, in) BOOL.
   */
  readonly mask?: HostTensor;
}

/** A pruned layer with `out` output and `in` input features. */
export interface PrunedLayer {
  /** The new weights: (out, in), in the dtype that the query asked for. */
  readonly weight: HostTensor;
  /** One bit per weight, 1 where the weight was not pruned: (out, ⌈in/8⌉), U8, least significant bit first. */
  readonly mask: HostTensor;
  /** The codes and the grid of the new weights, if the query has `bits`. */
  readonly quantized?: QuantizedWeight;
  /** The report of the solve. */
  readonly report: Report;
}

/**
 * Encodes `tensors` as a safetensors file. Returns the parts of the file in order: first the header, then the
 * data of each tensor. The data is not copied.
 */
export function encodeParts(
  tensors: { readonly [name in keyof LayerTensors]?: HostTensor },
): Uint8Array<ArrayBuffer>[] {
  const named = Object.entries(tensors).filter(([, tensor]) => tensor !== undefined);
  const header = encodeHeader(named.map(([name, { dtype, shape }]) => ({ name, dtype, shape })));
  return [header.bytes, ...named.map(([, { data }]) => data)];
}

/**
 * Decodes the answer to a request that pruned a layer.
 * @throws {SafetensorsError} if `body` is not a safetensors file
 * @throws {TypeError} if the weight, the mask or the report is missing, if the report is malformed, or if the answer has some of
 * the tensors `codes`, `scales` and `zeros`, but not all of them
 */
export function decodeAnswer(body: Uint8Array<ArrayBuffer>): PrunedLayer {
  const { header, tensors } = decode(body);
  return {
    weight: requireTensor(tensors, "weight"),
    mask: requireTensor(tensors, "mask"),
    ...QUANTIZED_NAMES.some((name) => tensors.has(name)) ? { quantized: readQuantized(tensors) } : {},
    report: parseReport(header.metadata.report),
  };
}

/** The tensors of an answer that make up its quantised weight. */
const QUANTIZED_NAMES = ["codes", "scales", "zeros"];

function readQuantized(tensors: ReadonlyMap<string, HostTensor>): QuantizedWeight {
  return {
    codes: requireTensor(tensors, "codes"),
    scales: requireTensor(tensors, "scales"),
    zeros: requireTensor(tensors, "zeros"),
  };
}

function requireTensor(tensors: ReadonlyMap<string, HostTensor>, name: string): HostTensor {
  const tensor = tensors.get(name);
  if (!tensor) throw new TypeError(`answer of /v1/layers: tensor "${name}" is missing`);
  return tensor;
}

function parseReport(json: string | undefined): Report {
  try {
    return receivedReport.parse(JSON.parse(json ?? ""));
  } catch (cause) {
    throw new TypeError("answer of /v1/layers: __metadata__.report is missing or not a report", { cause });
  }
}
