/** Writes a model as a GGUF file, which llama.cpp and the programs that are built on it load. */

import type { FileSystem } from "../../base/files/file_system.ts";
import { writeFileAtomically } from "../../base/files/whole_file.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { checkTensor } from "../checkpoint/tensor_source.ts";
import { modeOfCopy } from "../checkpoint/write/partial_folder.ts";
import type { DescribedModel, ModelFolder } from "../model.ts";
import { readTokenizerFiles } from "../tokenizer/tokenizer.ts";
import { findArchitecture } from "./architecture.ts";
import { align, encodeHeader, type MetadataEntry, text, u32 } from "./container.ts";
import { describeNetwork } from "./metadata.ts";
import { type LayerCounts, planTensors, type TensorOptions } from "./plan_tensors.ts";
import type { PlannedTensor } from "./planned_tensor.ts";
import { TENSOR_TYPES } from "./tensor_types.ts";
import { modelName, vocabularyEntries } from "./vocabulary.ts";

/** The version of the types of blocks. */
const QUANTIZATION_VERSION = 2;

export interface GgufOptions extends TensorOptions {
  /** The name of the model, which programs show. */
  readonly name: string;
  readonly signal?: AbortSignal;
  progress?(done: number, total: number, name: string): void;
}

export interface GgufResult {
  readonly architecture: string;
  readonly layers: LayerCounts;
  /** The type of the table of tokens and of the head, such as `Q8_0`. */
  readonly embeddings: string;
  readonly bytes: number;
  /** As in `NetworkDescription`. */
  readonly remark?: string;
}

/**
 * Checks, without reading a weight, that llama.cpp has a place for all parts of a model.
 * @throws {ModelError} if llama.cpp has no architecture for the model or no place for a tensor, or if its tokenizer
 * cannot be converted
 */
export async function checkModel(opened: DescribedModel, fs: FileSystem): Promise<void> {
  const { architecture } = await describeModel(opened, fs);
  await planTensors(opened.checkpoint.folder, opened.model, architecture, { type: "f32", round: false });
}

/**
 * Describes a model by the keys of GGUF, which do not depend on the types of its tensors.
 * @throws {ModelError} in the cases of {@link checkModel}, except that most tensors are not checked
 */
async function describeModel(
  { checkpoint: { folder, config }, model: { spec, weights } }: DescribedModel,
  fs: FileSystem,
) {
  const architecture = findArchitecture(config), { vocabSize, hiddenSize, embedding } = spec;
  const tokenizer = await readTokenizerFiles(folder, fs);
  checkTensor(weights, embedding.tokens, [vocabSize, hiddenSize]); // the file has one token per row
  return {
    architecture,
    network: describeNetwork(config, spec, architecture),
    vocabulary: vocabularyEntries(tokenizer, vocabSize, config),
    definition: tokenizer.definition,
  };
}

/** Plans the content of a file. @throws {ModelError} in the cases of {@link checkModel} and {@link planTensors} */
async function planContent(
  { checkpoint, model }: DescribedModel,
  fs: FileSystem,
  { name, ...options }: TensorOptions & Pick<GgufOptions, "name">,
) {
  const { architecture, network, vocabulary, definition } = await describeModel({ checkpoint, model }, fs);
  const { tensors, layers, embeddings } = await planTensors(checkpoint.folder, model, architecture, options);
  const metadata: MetadataEntry[] = [
    ["general.architecture", text(architecture.name)],
    ["general.type", text("model")],
    ["general.name", text(modelName(name, definition))],
    ["general.file_type", u32(TENSOR_TYPES[options.type].fileType)],
    ["general.quantization_version", u32(QUANTIZATION_VERSION)],
    ...network.entries,
    ...vocabulary,
  ];
  const facts = { architecture: architecture.name, layers, embeddings: embeddings.label };
  return { facts: { ...facts, remark: network.remark }, metadata, tensors: [...network.tensors, ...tensors] };
}

/** The options of the file of a run, of which no weight is read. */
export type GgufPlanOptions = Required<TensorOptions> & Pick<GgufOptions, "name">;

/** Plans the file that a run writes. @returns its description, its header, and its tensors in their order */
export async function planGguf(opened: DescribedModel, fs: FileSystem, options: GgufPlanOptions) {
  const { facts, metadata, tensors } = await planContent(opened, fs, options);
  const header = encodeHeader(metadata, tensors);
  const bytes = tensors.reduce((sum, { byteLength }) => sum + align(byteLength), header.length);
  return { ...facts, bytes, header, tensors };
}

/**
 * Writes a model to the file `path`, tensor by tensor. If it fails, an existing file is unchanged.
 * @throws {ModelError} in the cases of {@link planContent}
 */
export async function writeGguf(
  opened: ModelFolder,
  path: string,
  fs: FileSystem,
  { signal, progress, ...options }: GgufOptions,
): Promise<GgufResult> {
  const { facts, ...content } = await planContent(opened, fs, options), { checkpoint } = opened;
  return { ...facts, bytes: await writeTensors(fs, path, { ...content, checkpoint, signal, progress }) };
}

/** The content of a file. */
export interface GgufContent {
  readonly metadata: readonly MetadataEntry[];
  readonly tensors: readonly PlannedTensor[];
  /** The checkpoint that the content is made of. Nobody can read the file who cannot read every weight file. */
  readonly checkpoint: Checkpoint;
  readonly signal?: AbortSignal;
  progress?(done: number, total: number, name: string): void;
}

/** Writes a file. If it fails, an existing file is unchanged. Returns the number of bytes. */
export async function writeTensors(
  fs: FileSystem,
  path: string,
  { metadata, tensors, checkpoint: { shards }, signal, progress }: GgufContent,
): Promise<number> {
  const modes = shards.map(({ mode }) => mode).filter((mode) => mode !== undefined);
  const mode = modes.length === 0 ? undefined : modeOfCopy(modes.reduce((common, mode) => common & mode));
  const header = encodeHeader(metadata, tensors);
  let position = header.length;
  await writeFileAtomically(fs, path, async (file) => {
    await file.write(0, header);
    for (const [index, tensor] of tensors.entries()) {
      const end = position + tensor.byteLength;
      for (const { weight: { rows }, rowsPerChunk, encode } of tensor.parts) {
        for (let first = 0; first < rows; first += rowsPerChunk) {
          signal?.throwIfAborted();
          const bytes = await encode(first, Math.min(rows, first + rowsPerChunk));
          await file.write(position, bytes);
          position += bytes.length;
        }
      }
      position = align(end);
      if (end < position) await file.write(end, new Uint8Array(position - end));
      progress?.(index + 1, tensors.length, tensor.name);
    }
  }, mode);
  return position;
}
