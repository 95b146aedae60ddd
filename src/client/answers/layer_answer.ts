/** Reads the answer with a pruned layer, which is a safetensors file with the report in its metadata. */

import type { Report } from "../../protocol/messages.ts";
import { parseJson } from "../../base/json.ts";
import { receivedReport } from "../../protocol/received.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { decode, type DecodedFile } from "../../tensor/safetensors/decode.ts";
import { SafetensorsError } from "../../tensor/safetensors/error.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import type { HostTensor, QuantizedWeight } from "../../tensor/host_tensor.ts";
import type { PrunedLayer } from "../layer_file.ts";
import { checkPruned, type RequestedLayer, wantedDtype } from "./check_pruned.ts";
import { malformedLayer } from "./parse_answer.ts";

/** The number of bytes that an answer may need for its header, which has the names of its tensors and the report. */
const MAX_HEADER_BYTES = 2 ** 20;

/** The limits of a report, which has 60 values. */
const REPORT_BOUNDS = { maxValues: 2 ** 12 };

/** Returns the largest length of the answer in bytes. @param weight the form of the weight before pruning */
export function maxAnswerBytes(query: LayerQuery, weight: Pick<HostTensor, "dtype" | "shape">): number {
  const entries = weight.shape.reduce((product, extent) => product * extent, 1);
  const width = BYTES_PER_ELEMENT[wantedDtype(query, weight.dtype)];
  // A mask has at most one byte per entry. Rounded weights also have a code of 1 byte, and at most 8 bytes of grids. The
  // number of a column that remains has 4 bytes.
  const others = (query.bits === undefined ? 0 : 1 + 8) + (query.pattern === "columns" ? 4 : 0);
  return MAX_HEADER_BYTES + entries * (width + 1 + others);
}

/**
 * Decodes an answer, and checks that it is the requested layer.
 * @throws {MalformedAnswerError} if `body` is not a safetensors file with a report, or as {@link checkPruned}
 */
export function decodeAnswer(body: Uint8Array<ArrayBuffer>, requested: RequestedLayer): PrunedLayer {
  const { header, tensors } = decodeFile(body);
  const kept = tensors.get("kept");
  const layer: PrunedLayer = {
    ...kept && { kept },
    weight: requireTensor(tensors, "weight"),
    mask: requireTensor(tensors, "mask"),
    ...QUANTIZED_NAMES.some((name) => tensors.has(name)) ? { quantized: readQuantized(tensors) } : {},
    report: parseReport(header.metadata.report),
  };
  checkPruned(layer, requested);
  return layer;
}

function decodeFile(body: Uint8Array<ArrayBuffer>): DecodedFile {
  try {
    return decode(body);
  } catch (error) {
    if (!(error instanceof SafetensorsError)) throw error;
    throw malformedLayer(`it is not a safetensors file: ${error.message}`, error);
  }
}

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
  if (!tensor) throw malformedLayer(`the tensor "${name}" is missing`);
  return tensor;
}

function parseReport(json: string | undefined): Report {
  try {
    return receivedReport.parse(parseJson(json ?? "", REPORT_BOUNDS));
  } catch (cause) {
    throw malformedLayer("__metadata__.report is missing or not a report", cause);
  }
}
