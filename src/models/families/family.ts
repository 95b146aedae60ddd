/**
 * The declaration of a model family: how to read its configuration, the names and shapes of its tensors, and the forward of one block,
 * composed of the shared `pieces`. A family runs nothing and reads no weights.
 *
 * To add a family, write a file here with a `Family` and add it to `families.ts`. Arithmetic that no family had before becomes a new piece.
 */

import type { BlockPass } from "../pieces/block_pass.ts";
import type { DeviceBuffer } from "../../backend/backend.ts";
import type { LinearGroup, LinearSpec, NormSpec } from "./layer_specs.ts";

/** A model family. */
export interface Family {
  /** The `model_type` of its config.json. */
  readonly modelType: string;
  /**
   * Returns the model that a configuration describes.
   * @param config the object in config.json
   * @param has whether the checkpoint has a tensor. Tensor names differ between checkpoints of one family
   * @throws {ModelError} naming the setting that is missing, malformed or not supported
   */
  read(config: Readonly<Record<string, unknown>>, has: (name: string) => boolean): ModelSpec;
}

/** A decoder-only model: an embedding, blocks of equal shape, a norm and a head. */
export interface ModelSpec {
  readonly hiddenSize: number;
  readonly blockCount: number;
  readonly vocabSize: number;
  /** The longest window for which the model has positions. Infinity if it needs no position embeddings. */
  readonly maxTokens: number;
  readonly embedding: EmbeddingSpec;
  readonly block: BlockSpec;
  /** The norm after the last block, if the family has one. Its name, like those of embedding and head, is complete. */
  readonly finalNorm?: NormSpec;
  /** Projects the hidden states to the inputs of the head, if their widths differ. */
  readonly headProjection?: LinearSpec;
  /** The head. A tied head has the name of the embedding's table. */
  readonly head: LinearSpec;
}

/** The embedding: tables whose rows are added for each token. */
export interface EmbeddingSpec {
  /** The name of the table of tokens, (vocabulary, hidden), or (vocabulary, inFeatures of the projection). */
  readonly tokens: string;
  /** Projects the table's rows to the width of the hidden states, before positions are added. */
  readonly projection?: LinearSpec;
  /** The table of positions, (positions, hidden). Token t of a window uses row t + `offset`. */
  readonly positions?: { readonly name: string; readonly offset: number };
  /** The norm of the sum. */
  readonly norm?: NormSpec;
}

/** A block. All blocks are equal except for the prefix of their names. */
export interface BlockSpec {
  /** Returns the prefix of the names in `norms` and `groups`, such as `model.decoder.layers.3.`. */
  prefix(block: number): string;
  readonly norms: readonly NormSpec[];
  /** All prunable linear layers in the order of the forward. The layers of a group share one input. */
  readonly groups: readonly LinearGroup[];
  /**
   * Queues block `index` on `x`, (pass.rows, hidden) f32, in place. Each group must be projected exactly once. The last group must be
   * projected onto `x`, and only a norm may follow it.
   */
  forward(pass: BlockPass, x: DeviceBuffer, index: number): void;
}
