/**
 * A model: the weights of a checkpoint, with the description of the network that its family declares, and with its tokenizer if its folder
 * is opened.
 */

import { type Checkpoint, openCheckpoint } from "./checkpoint/checkpoint.ts";
import { PACK_QUANTIZED, weightFormat } from "./checkpoint/quantized/config.ts";
import { openDequantized } from "./checkpoint/quantized/dequantized_source.ts";
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
}

/**
 * Returns the model of a checkpoint.
 * @param weights the dense weights of a checkpoint in the layout `pack-quantized`. Defaults to the checkpoint itself
 * @throws {ModelError} if the weights are quantised, if the family or a setting is not supported, or if the tensors are not
 * those that the configuration describes
 */
export function openModel(checkpoint: Checkpoint, weights: TensorSource = checkpoint): Model {
  if (weights === checkpoint && weightFormat(checkpoint) !== "dense") {
    throw new ModelError(`${checkpoint.folder}: is quantised: \`pare unpack\` writes a dense copy`);
  }
  try {
    const spec = readModelSpec(checkpoint.config, (name) => weights.has(name));
    checkTensors(spec, weights, checkpoint.names());
    return { spec, weights };
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
  readonly checkpoint: Checkpoint;
  readonly model: Model;
  /** Loads the tokenizer. @throws {ModelError} if the folder has none, or if its files are malformed */
  loadTokenizer(): Promise<Tokenizer>;
}

/**
 * Opens `folder`. If the checkpoint is in the layout `pack-quantized`, the weights of the model are the dense weights that its codes
 * stand for.
 * @throws {ModelError} if a file is missing or malformed, or if the model is not supported
 */
export async function openModelFolder(folder: string, fs: FileSystem): Promise<ModelFolder> {
  const checkpoint = await openCheckpoint(folder, fs);
  try {
    const weights = weightFormat(checkpoint) === PACK_QUANTIZED
      ? await openDequantized(checkpoint)
      : checkpoint;
    return {
      checkpoint,
      model: openModel(checkpoint, weights),
      loadTokenizer: () => loadTokenizer(folder, fs),
      [Symbol.asyncDispose]: () => checkpoint.close(),
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}
