/** One layer as the files that carry it: the body of a request, and that of its answer. */

import { type Report, reportSchema } from "../protocol/report.ts";
import { decode } from "../safetensors/decode.ts";
import { encodeHeader } from "../safetensors/encode.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";

/** The tensors of one layer's request, by the contract's names. Exactly one statistics source, unless the method needs none. */
export interface LayerTensors {
  /** (out, in) F32, F16 or BF16. */
  readonly weight: HostTensor;
  /** (in, in) F32. */
  readonly hessian?: HostTensor;
  /** (in·(in+1)/2) F32, the packed upper triangle. */
  readonly hessian_upper?: HostTensor;
  /** (tokens, in) calibration activations. */
  readonly inputs?: HostTensor;
  /** (out, ⌈in/8⌉) U8 bits or (out, in) BOOL: entries 0 stay pruned. */
  readonly mask?: HostTensor;
}

/** A solved layer. */
export interface PrunedLayer {
  /** (out, in) in the dtype asked for. */
  readonly weight: HostTensor;
  /** (out, ⌈in/8⌉) U8, least significant bit first, 1 where kept. */
  readonly mask: HostTensor;
  readonly report: Report;
}

/** A safetensors file in parts: the header, then each tensor's own bytes. */
export function encodeParts(
  tensors: { readonly [name in keyof LayerTensors]?: HostTensor },
): Uint8Array<ArrayBuffer>[] {
  const named = Object.entries(tensors).filter(([, tensor]) => tensor !== undefined);
  const header = encodeHeader(named.map(([name, { dtype, shape }]) => ({ name, dtype, shape })));
  return [header.bytes, ...named.map(([, { data }]) => data)];
}

/** @throws {SafetensorsError} when the answer is no safetensors file, {TypeError} when it lacks what the contract promises */
export function decodeAnswer(body: Uint8Array<ArrayBuffer>): PrunedLayer {
  const { header, tensors } = decode(body);
  return {
    weight: required(tensors, "weight"),
    mask: required(tensors, "mask"),
    report: parseReport(header.metadata.report),
  };
}

function required(tensors: ReadonlyMap<string, HostTensor>, name: string): HostTensor {
  const tensor = tensors.get(name);
  if (!tensor) throw new TypeError(`answer of /v1/layers: tensor "${name}" is missing`);
  return tensor;
}

function parseReport(json: string | undefined): Report {
  try {
    return reportSchema.parse(JSON.parse(json ?? ""));
  } catch (cause) {
    throw new TypeError("answer of /v1/layers: __metadata__.report is missing or not a report", { cause });
  }
}
