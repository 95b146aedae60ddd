/**
 * What a model family declares: how its configuration reads, what its tensors are called and shaped, and the
 * forward of one block in terms of the shared `pieces`. A family runs nothing and reads no weights.
 *
 * To add one: a file here with a `Family`, a line in `families.ts`, and a piece for arithmetic that no family had.
 */

import type { BlockPass } from "../pieces/block_pass.ts";
import type { DeviceBuffer } from "../../backend/backend.ts";
import type { LinearGroup, LinearSpec, NormSpec } from "./layer_specs.ts";

/** How one family's checkpoints are read. */
export interface Family {
  /** The `model_type` of its config.json. */
  readonly modelType: string;
  /**
   * The model a configuration describes.
   * @param config the object in config.json
   * @param has whether the checkpoint has a tensor: naming differs between checkpoints of one family
   * @throws {ModelError} a setting is missing, malformed or not supported: names it
   */
  read(config: Readonly<Record<string, unknown>>, has: (name: string) => boolean): ModelSpec;
}

/** A decoder-only model: an embedding, blocks of one shape, a norm and a head. */
export interface ModelSpec {
  readonly hiddenSize: number;
  readonly blockCount: number;
  readonly vocabSize: number;
  /** The longest window it has positions for; Infinity where it needs none. */
  readonly maxTokens: number;
  readonly embedding: EmbeddingSpec;
  readonly block: BlockSpec;
  /** After the last block; undefined where the family has none. Its name is whole, as those of the embedding and the head. */
  readonly finalNorm?: NormSpec;
  /** hidden → the head's inputs, where their widths differ. */
  readonly headProjection?: LinearSpec;
  /** → vocabulary. A tied head names the embedding's table. */
  readonly head: LinearSpec;
}

/** Tables whose rows are added up for each token. */
export interface EmbeddingSpec {
  /** (vocabulary, hidden), indexed by token; with a projection, (vocabulary, its inFeatures). */
  readonly tokens: string;
  /** From the table's width to that of the hidden states, before positions are added. */
  readonly projection?: LinearSpec;
  /** (positions, hidden): token t of a window takes row t + `offset`. */
  readonly positions?: { readonly name: string; readonly offset: number };
  /** Over the sum. */
  readonly norm?: NormSpec;
}

/** One block, the same for every index but for the prefix of its names. */
export interface BlockSpec {
  /** Goes before the names in `norms` and `groups`: `model.decoder.layers.3.`. */
  prefix(block: number): string;
  readonly norms: readonly NormSpec[];
  /** Every linear layer to be pruned, in the order of the forward; those of a group share one input. */
  readonly groups: readonly LinearGroup[];
  /**
   * Queues block `index` on `x`, (pass.rows, hidden) f32, in place. Each group is projected exactly once, the last one onto `x`;
   * only a norm may follow it.
   */
  forward(pass: BlockPass, x: DeviceBuffer, index: number): void;
}
