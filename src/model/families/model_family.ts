/**
 * The declaration of a model family. A family reads its config.json, names its tensors with their shapes, and composes the forward pass of
 * one transformer block from the functions in `pieces/`. It does not read weights. It also says how llama.cpp runs its models, what can be
 * removed from them, and which multimodal models have one as their text part.
 */

import type { Architecture } from "./architecture.ts";
import type { ModelSpec } from "./family.ts";
import type { FamilyUnits } from "./units.ts";

export interface Family extends FamilyUses {
  readonly modelType: string;
  /**
   * Returns the model that a configuration describes.
   * @param config the object in config.json
   * @param has returns whether the checkpoint has a tensor with the given name. Tensor names differ between checkpoints of one family
   * @throws {ModelError} naming the setting that is missing, malformed or not supported
   */
  read(config: Readonly<Record<string, unknown>>, has: (name: string) => boolean): ModelSpec;
}

/** The uses of the models of a family besides the forward pass. */
export interface FamilyUses {
  /** Whether all models have a mixture of experts, or some. By default none has. */
  readonly experts?: "all" | "some";
  /** The architecture of llama.cpp. Without it, the models cannot be exported to GGUF. */
  readonly gguf?: Architecture;
  /** The parts that `pare shrink` can remove. @default none */
  readonly units?: FamilyUnits;
  /** The multimodal models that have a model of the family as their text part, by their `model_type`. */
  readonly textParts?: Readonly<Record<string, TextPart>>;
}

/** The text part of a multimodal model. It is pruned as a model of its own family, and all other tensors are copied. */
export interface TextPart {
  /** The values of `model_type` of the text part, where undefined means that it has none. @default undefined and the type of the family */
  readonly types?: readonly (string | undefined)[];
  /** The defaults that differ from the family's. */
  readonly defaults?: Readonly<Record<string, unknown>>;
  /** Settings that the class of the multimodal model does not read, with the values that it implies. */
  readonly fixed?: Readonly<Record<string, unknown>>;
  /** Whether the head shares the weight of the table of tokens also if only the nested configuration says so. */
  readonly isTiedByEither?: boolean;
}
