/** Opens the folder of a model for pruning or evaluation: its weights, its network and its tokenizer. */

import type { Tokenizer } from "@huggingface/tokenizers";
import { type Checkpoint, openCheckpoint } from "../checkpoint/checkpoint.ts";
import type { FileSystem } from "../files/file_system.ts";
import { type Model, openModel } from "./model.ts";
import { loadTokenizer } from "./tokenizer/tokenizer.ts";

/** The open folder of a model. Dispose of it to close its files. */
export interface ModelFolder extends AsyncDisposable {
  readonly checkpoint: Checkpoint;
  readonly model: Model;
  /** Loads the tokenizer. @throws {ModelError} if the folder has none, or if its files are malformed */
  loadTokenizer(): Promise<Tokenizer>;
}

/** Opens `folder`. @throws {ModelError} if a file is missing or malformed, or if the model is not supported */
export async function openModelFolder(folder: string, fs: FileSystem): Promise<ModelFolder> {
  const checkpoint = await openCheckpoint(folder, fs);
  try {
    return {
      checkpoint,
      model: openModel(checkpoint),
      loadTokenizer: () => loadTokenizer(folder, fs),
      [Symbol.asyncDispose]: () => checkpoint.close(),
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}
