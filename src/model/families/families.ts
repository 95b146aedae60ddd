/** Finds the family of a checkpoint by the `model_type` in its config.json. */

import { ModelError } from "../../base/files/file_error.ts";
import { quote } from "../../base/texts.ts";
import { isObject } from "../../base/json.ts";
import { configError } from "./config/config.ts";
import type { ModelSpec } from "./family.ts";
import type { Family } from "./model_family.ts";
import * as files from "./registry.ts";

type Config = Readonly<Record<string, unknown>>;

/** All families. The files of families export functions too. */
export const FAMILIES: readonly Family[] = Object.values(files).filter((value) => "modelType" in value);

const typesOf = (families: readonly Family[]) => families.map(({ modelType }) => modelType);

/** The supported values of `model_type`. */
export const MODEL_TYPES = {
  dense: typesOf(FAMILIES.filter(({ experts }) => experts !== "all")),
  mixtures: typesOf(FAMILIES.filter(({ experts }) => experts)),
  multimodal: [...new Set(FAMILIES.flatMap(({ textParts }) => Object.keys(textParts ?? {})))],
} as const;

/**
 * Returns the model that the configuration of a checkpoint describes. Of a multimodal model, it is the text part.
 * @param config the object in config.json
 * @param has returns whether the checkpoint has a tensor with the given name
 * @throws {ModelError} if no family supports the model. The message lists the supported types
 * @throws {ModelError} naming a setting that is missing, malformed or not supported
 */
export function readModelSpec(
  config: Config,
  has: (name: string) => boolean,
): ModelSpec {
  const text = textConfig(config);
  if (text) return { ...readTextPart(text, has, isObject(config.text_config)), isTextPart: true };
  const family = FAMILIES.find(({ modelType }) => modelType === config.model_type);
  const reason = unsupportedReason(config, family);
  if (family && !reason) return family.read(config, has);
  const isMixture = reason === MIXTURE, { dense, mixtures, multimodal } = MODEL_TYPES;
  const problem = isMixture ? `${reason} of a kind that ` : reason ? `${reason}, which ` : "";
  const types = new Set(isMixture ? mixtures : [...dense, ...mixtures, ...multimodal]);
  throw configError(
    `model_type ${quote(config.model_type)} ${problem}is not supported, but ` +
      "prune_ of the Python package pare-llm prunes any causal model of PyTorch; the supported " +
      `${isMixture ? "mixtures" : "types"} are: ${[...types].join(", ")}`,
  );
}

/**
 * Returns the configuration of the text part, in the form of its family, or undefined if `model_type` does not name a supported
 * multimodal model.
 * @throws {ModelError} if the text part has the `model_type` of another family
 */
export function textConfig(config: Config): Config | undefined {
  const type = String(config.model_type);
  const parts = FAMILIES.flatMap(({ modelType, textParts = {} }) =>
    Object.hasOwn(textParts, type) ? [{ modelType, types: [undefined, modelType], ...textParts[type] }] : []
  );
  if (parts.length === 0) return undefined;
  const { vision_config: _, ...text } = isObject(config.text_config) ? config.text_config : config;
  const textType = text.model_type ?? undefined;
  const part = parts.find(({ types }) => types.some((known) => known === textType));
  if (!part) {
    const supported = parts.flatMap(({ types }) => types).filter((known) => known !== undefined).join(", ");
    throw configError(
      `text_config.model_type ${
        JSON.stringify(textType)
      } of a ${type} model is not supported; the supported ` +
        `types are: ${supported}`,
    );
  }
  const { modelType, defaults, fixed, isTiedByEither } = part;
  return {
    ...defaults,
    ...text,
    ...fixed,
    model_type: modelType,
    tie_word_embeddings: (isTiedByEither && text.tie_word_embeddings) ||
      (config.tie_word_embeddings ?? text.tie_word_embeddings ?? defaults?.tie_word_embeddings),
  };
}

/** @param isNested whether the settings are in the object `text_config`. Errors then name it */
function readTextPart(
  config: Config,
  has: (name: string) => boolean,
  isNested: boolean,
): ModelSpec {
  try {
    return readModelSpec(config, has);
  } catch (error) {
    if (!(error instanceof ModelError && isNested)) throw error;
    throw new ModelError(error.message.replace("config.json: ", "config.json: text_config: "), {
      cause: error,
    });
  }
}

/** Keys of config.json. A model is multimodal if at least one of them is set. */
const MULTIMODAL_KEYS = ["vision_config", "audio_config", "text_config"];

/** The reason of a mixture of experts that no family reads. */
const MIXTURE = "is a mixture of experts";

/** Keys of config.json. A model is a mixture of experts if at least one of them is set. */
const EXPERTS_KEYS = [
  "num_experts",
  "num_local_experts",
  "n_routed_experts",
  "moe_num_experts",
  "num_moe_experts",
];

/** Returns why a configuration is not supported, as the predicate of a sentence ("is multimodal"), or undefined if no reason was found. */
function unsupportedReason(
  config: Config,
  family: Family | undefined,
): string | undefined {
  const isSet = (key: string) => ![undefined, null, 0].some((unset) => unset === config[key]);
  if (config.is_encoder_decoder === true) return "is an encoder with a decoder";
  if (MULTIMODAL_KEYS.some(isSet)) return "is multimodal";
  return EXPERTS_KEYS.some(isSet) && !family?.experts ? MIXTURE : undefined;
}
