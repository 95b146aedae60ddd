/** Stores the result of a run as a GGUF file. The codes of each answered layer are packed at the place that they have in the file. */

import type { FileSystem } from "../../base/files/file_system.ts";
import { readTensor, type TensorSource, withReplacements } from "../../model/checkpoint/tensor_source.ts";
import type { WeightFile } from "../../model/checkpoint/weight_files.ts";
import type { WritePlan } from "../../model/checkpoint/write/write_plan.ts";
import { align } from "../../model/gguf/container.ts";
import { packPart, type TensorPart, unpackPart } from "../../model/gguf/planned_tensor.ts";
import { type GgufPlanOptions, type GgufResult, planGguf } from "../../model/gguf/write_gguf.ts";
import type { ModelFolder } from "../../model/model.ts";
import { bytesToFloats, floatsToBytes, tensorBytes } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { TensorInfo } from "../../tensor/safetensors/header.ts";
import { linearLayers } from "../block_plan.ts";
import type { OutputPlan } from "./plan_output.ts";

/** The name of the GGUF file in the folder of a run. */
export const GGUF_FILE = "model.gguf";

/** The file of an unfinished run with the tensors that it has stored, and that the GGUF file holds in another dtype or form. */
const ORIGINALS_FILE = "originals.bin";

/** A part of a GGUF tensor, as a tensor of the written file. */
interface StoredPart {
  readonly part: TensorPart;
  readonly info: TensorInfo;
}

/**
 * Plans the GGUF file of a run, without reading a weight.
 * @param options its `rounded` layers get codes by the answers of the run
 * @throws {ModelError} if llama.cpp has no place for a tensor
 */
export async function planGgufOutput(
  opened: Pick<ModelFolder, "checkpoint" | "model">,
  fs: FileSystem,
  options: GgufPlanOptions,
): Promise<{ readonly result: GgufResult; readonly output: OutputPlan }> {
  const { checkpoint, model: { spec, weights } } = opened, replaced = new Map<string, HostTensor>();
  const current = { spec, weights: withReplacements(weights, replaced) };
  const { header, tensors, ...result } = await planGguf({ ...opened, model: current }, fs, options);
  const parts: StoredPart[] = [];
  let position = 0;
  for (const { name, byteLength, parts: ofTensor } of tensors) {
    const end = align(position + byteLength);
    for (const [i, part] of ofTensor.entries()) {
      const begin = position;
      // The zeros up to the next tensor belong to the last part.
      position = i === ofTensor.length - 1 ? end : begin + part.byteLength;
      const shape = [position - begin];
      parts.push({
        part,
        info: { name: `${GGUF_FILE}:${name}:${i}`, dtype: "U8", shape, begin, end: position },
      });
    }
  }
  const linears = new Map(linearLayers(spec).map(({ name, linear }) => [name, linear]));
  const stored = Map.groupBy(parts, ({ part }) => part.weight.name);
  const hasCodes = (name: string) =>
    options.rounded.has(name) && stored.get(name)!.every(({ part }) => part.hasCodes);
  const partOf = new Map(parts.map(({ part, info }) => [info.name, part]));
  const file: WeightFile = {
    name: GGUF_FILE,
    mode: checkpoint.shards[0].mode,
    header: {
      tensors: parts.map(({ info }) => info),
      metadata: {},
      headerBytes: header.length,
      dataBytes: position,
    },
    readHeaderBytes: () => Promise.resolve(header),
  };
  const plan: WritePlan = {
    checkpoint,
    weightFiles: [file],
    workFiles: [
      originalsFile(file, weights, [...stored.keys()].filter((name) => weights.has(name) && !hasCodes(name))),
    ],
    tensors: {
      has: (name) => partOf.has(name) || weights.has(name),
      info: (name) => weights.info(name),
      read: (name, offset, byteLength) => {
        const part = partOf.get(name);
        return part ? encodeRange(part, offset, byteLength) : weights.read(name, offset, byteLength);
      },
    },
    files: new Map(),
  };

  /** Reads the weight of a layer that has codes, from the blocks of its parts. */
  const readCodes = async (written: TensorSource, name: string): Promise<HostTensor> => {
    const { outFeatures: rows, inFeatures: cols, isTransposed = false } = linears.get(name)!;
    const weight = new Float32Array(rows * cols);
    for (const { part, info } of stored.get(name)!) {
      unpackPart(part, await written.read(info.name, 0, part.byteLength), weight);
    }
    if (!isTransposed) return { dtype: "F32", shape: [rows, cols], data: floatsToBytes(weight, "F32") };
    const transposed = weight.map((_, i) => weight[i % rows * cols + Math.floor(i / rows)]);
    return { dtype: "F32", shape: [cols, rows], data: floatsToBytes(transposed, "F32") };
  };

  const output: OutputPlan = {
    plan,
    result: (written) => ({ spec, weights: readableSource(weights, written, hasCodes, readCodes) }),
    read: (written, name) => hasCodes(name) ? readCodes(written, name) : readTensor(written, name),
    async takeAnswer({ layer: { name }, weight, quantized }, store) {
      if (!hasCodes(name)) return weight;
      if (!quantized) throw new Error(`${name}: the server answered no codes, although the layer has --bits`);
      const { codes: { data }, scales, zeros } = quantized;
      const codes = {
        codes: data,
        scales: bytesToFloats(scales.data, "F32"),
        zeros: bytesToFloats(zeros.data, "F32"),
      };
      await store(
        name,
        new Map(stored.get(name)!.map((each) => [each.info.name, bytesOf(each, packPart(each.part, codes))])),
      );
      return weight;
    },
    async stored(name, tensor) {
      if (hasCodes(name)) return new Map();
      const tensors = new Map([[name, tensor]]);
      replaced.set(name, tensor);
      for (const each of stored.get(name) ?? []) {
        tensors.set(each.info.name, bytesOf(each, await each.part.encode(0, each.part.weight.rows)));
      }
      replaced.delete(name);
      return tensors;
    },
  };
  return { result, output };
}

/** Plans the file with the tensors `names` as they are in the model. */
function originalsFile({ mode }: WeightFile, weights: TensorSource, names: readonly string[]): WeightFile {
  let end = 0;
  const tensors = names.map((name): TensorInfo => {
    const { dtype, shape } = weights.info(name), begin = end;
    end += tensorBytes(dtype, shape);
    return { name, dtype, shape, begin, end };
  });
  return {
    name: ORIGINALS_FILE,
    mode,
    header: { tensors, metadata: {}, headerBytes: 0, dataBytes: end },
    readHeaderBytes: () => Promise.resolve(new Uint8Array()),
  };
}

/** Returns the bytes of a part, with the zeros after it. */
function bytesOf({ info: { shape } }: StoredPart, bytes: Uint8Array<ArrayBuffer>): HostTensor {
  const [byteLength] = shape, data = byteLength === bytes.length ? bytes : new Uint8Array(byteLength);
  if (data !== bytes) data.set(bytes);
  return { dtype: "U8", shape, data };
}

/** Encodes the rows that have some bytes of a part. Bytes after the rows are zeros. */
async function encodeRange(
  part: TensorPart,
  offset: number,
  byteLength: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const { weight: { rows }, encode } = part, rowBytes = part.byteLength / rows;
  const first = Math.min(rows, Math.floor(offset / rowBytes));
  const end = Math.min(rows, Math.ceil((offset + byteLength) / rowBytes));
  const bytes = new Uint8Array(byteLength);
  if (first === end) return bytes;
  const encoded = await encode(first, end), skipped = offset - first * rowBytes;
  bytes.set(encoded.subarray(skipped, skipped + byteLength));
  return bytes;
}

/** The tensors of the model that is written: codes are read as weights, and other tensors as the run has stored them. */
function readableSource(
  weights: TensorSource,
  written: TensorSource,
  hasCodes: (name: string) => boolean,
  readCodes: (written: TensorSource, name: string) => Promise<HostTensor>,
): TensorSource {
  let last: { readonly name: string; readonly weight: Promise<HostTensor> } | undefined;
  return {
    has: (name) => weights.has(name),
    info: (name) => weights.info(name),
    async read(name, offset, byteLength) {
      if (!hasCodes(name)) {
        return await (written.has(name) ? written : weights).read(name, offset, byteLength);
      }
      if (last?.name !== name) last = { name, weight: readCodes(written, name) };
      return (await last.weight).data.slice(offset, offset + byteLength);
    },
  };
}
