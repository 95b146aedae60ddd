/**
 * A model: the weights of a checkpoint, with the description of the network that its family declares, and with its tokenizer if its folder
 * is opened.
 */

import { type Checkpoint, openCheckpoint } from "./checkpoint/checkpoint.ts";
import { openDense } from "./formats/checkpoint/dense_checkpoint.ts";
import { ModelError } from "../base/files/file_error.ts";
import { checkTensors } from "./families/check_tensors.ts";
import { readModelSpec } from "./families/families.ts";
import type { ModelSpec } from "./families/family.ts";
import type { TensorSource } from "./checkpoint/tensor_source.ts";
import type { Tokenizer } from "@huggingface/tokenizers";
import type { FileSystem } from "../base/files/file_system.ts";
import { loadTokenizer } from "./tokenizer/tokenizer.ts";

/** A model on which a forward pass can run. */
export interface Model {
  readonly spec: ModelSpec;
  readonly weights: TensorSource;
  /** Whether only one expert of a mixture has its weights on the device at a time. @default false */
  readonly streamsExperts?: boolean;
}

/**
 * Returns the model of a checkpoint with dense weights.
 * @throws {ModelError} if the family or a setting is not supported, or if the tensors do not match the configuration
 */
export function openModel(checkpoint: Checkpoint): Model {
  try {
    const spec = readModelSpec(checkpoint.config, (name) => checkpoint.has(name));
    checkTensors(spec, checkpoint, checkpoint.names());
    return { spec, weights: checkpoint };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new ModelError(`${checkpoint.folder}: ${error.message}`, { cause: error });
  }
}

/** A model with the facts about its checkpoint that do not need open files. */
export interface DescribedModel {
  readonly checkpoint: Pick<Checkpoint, "folder" | "config">;
  readonly model: Model;
}

/** The open folder of a model. Dispose of it to close its files. */
export interface ModelFolder extends AsyncDisposable {
  /** The checkpoint with dense weights. If its files store quantised ones, they are dequantised when they are read. */
  readonly checkpoint: Checkpoint;
  readonly model: Model;
  /** Loads the tokenizer. @throws {ModelError} if the folder has none, or if its files are malformed */
  loadTokenizer(): Promise<Tokenizer>;
}

/**
 * Opens `folder`.
 * @throws {ModelError} if a file is missing or malformed, or if the model is not supported
 */
export async function openModelFolder(folder: string, fs: FileSystem): Promise<ModelFolder> {
  const stored = await openCheckpoint(folder, fs);
  try {
    const checkpoint = await openDense(stored);
    return {
      checkpoint,
      model: openModel(checkpoint),
      loadTokenizer: () => loadTokenizer(folder, fs),
      [Symbol.asyncDispose]: () => checkpoint.close(),
    };
  } catch (error) {
    await stored.close();
    throw error;
  }
}
