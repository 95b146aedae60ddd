/** Reads the settings of a family from config.json, and checks settings that several families have. */

import { z } from "zod";
import { ModelError } from "../../../base/files/file_error.ts";
import { stopAtFault } from "../../../base/stop_at_fault.ts";
import { firstItems, shortened } from "../../../base/texts.ts";
import type { Activation } from "../../pieces/block_pass.ts";

/** Returns an error about the settings of a model. */
export function configError(text: string): ModelError {
  return new ModelError(`config.json: ${text}`);
}

/**
 * Returns the settings of `config` that `schema` declares. Other settings are ignored.
 * @throws {ModelError} naming every setting that is missing or malformed
 */
export function readConfig<T>(schema: z.ZodType<T>, config: Readonly<Record<string, unknown>>): T {
  const result = schema.safeParse(config);
  if (result.success) return result.data;
  const faults = result.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  throw configError(firstItems(faults).join("; "));
}

export const positiveInt = z.int().positive();

/** A setting that is false by default. */
export const flag = z.boolean().default(false);

/**
 * The schema of the epsilon of a norm. Published models have values from 10⁻¹² to 10⁻⁵. A value that is 0 in f32 divides rows of zeros by
 * 0, and a large one makes every normalised row nearly 0.
 */
export const epsilon = z.number().min(1e-20).max(0.1);

/** The smallest and the largest step of Mamba 2. In config.json, {"__float__": "Infinity"} means that there is no largest step. */
export const stepLimits = z.tuple([
  z.number().nonnegative(),
  z.union([z.number(), z.object({ __float__: z.literal("Infinity") }).transform(() => Infinity)]),
]).default([0, Infinity]);

/** The largest number of dimensions of a head that the attention kernel supports. */
const MAX_HEAD_DIM = 512;

/**
 * Returns hidden / heads.
 * @param name the name of the setting with the number of heads, for the error message
 * @throws {ModelError} if `hidden` is not a multiple of `heads`, or if the attention kernel does not support heads of that size
 */
export function headDimension(hidden: number, heads: number, name = "num_attention_heads"): number {
  if (hidden % heads !== 0) {
    throw configError(`hidden_size ${hidden} is not a multiple of ${name} ${heads}`);
  }
  return checkHeadDimension(hidden / heads);
}

/**
 * @param limit the largest number of dimensions of a head, by default the limit of the attention kernel
 * @throws {ModelError} if `dimensions` is larger
 */
export function checkHeadDimension(dimensions: number, limit = MAX_HEAD_DIM): number {
  if (dimensions <= limit) return dimensions;
  throw configError(`heads of ${dimensions} dimensions are not supported; the limit is ${limit}`);
}

/**
 * Returns the name of the head without `.weight`. If config.json ties the head to the table of tokens, the head has no
 * weight of its own. If a checkpoint has one nevertheless, it is used, as transformers 5 does.
 * @param embedding the name of the table of tokens without `.weight`
 * @param other the name of an untied head that the checkpoint has under none of the usual names
 */
export function headName(
  isTied: boolean,
  embedding: string,
  has: (name: string) => boolean,
  other = "lm_head",
): string {
  // Multimodal checkpoints of older versions of transformers use the second name.
  const own = ["lm_head", "language_model.lm_head"].find((name) => has(`${name}.weight`));
  return own ?? (isTied ? embedding : other);
}

const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  relu: "relu",
  relu2: "relu2",
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  silu: "silu",
  swish: "silu",
};

/** The schema of a setting that names an activation as transformers does. */
export const activationName = z.string().transform((name, context): Activation => {
  const activation = Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;
  if (activation) return activation;
  context.addIssue(
    `${shortened(name)} is not supported; the supported names are: ${Object.keys(ACTIVATIONS).join(", ")}`,
  );
  return z.NEVER;
});

/** The setting with the type of each block. The schema of a family includes it. */
export const layerTypesShape = {
  layer_types: stopAtFault(z.array(z.enum(["full_attention", "sliding_attention"]))).nullish(),
};

/** The names of types of blocks in versions of transformers before 5. */
const OLDER_TYPES: Readonly<Record<string, string>> = {
  mamba: "linear_attention",
  attention: "full_attention",
};

/** Returns the schema of the list with the type of each block. */
export function blockTypes<const Type extends string>(types: readonly Type[]) {
  const type = z.preprocess((name) => OLDER_TYPES[String(name)] ?? name, z.enum(types));
  return stopAtFault(z.array(type).min(1)).nullish();
}

interface LayerTypesConfig {
  readonly layer_types?: readonly string[] | null;
  readonly num_hidden_layers: number;
}

/**
 * Returns a function that says whether a block has the type `type`, by default the type of blocks with a sliding window.
 * @param byDefault the same function for configurations without `layer_types`
 * @throws {ModelError} if `layer_types` does not have one entry per block
 */
export function readLayerTypes(
  { layer_types: types, num_hidden_layers: blocks }: LayerTypesConfig,
  byDefault: (index: number) => boolean,
  type = "sliding_attention",
): (index: number) => boolean {
  requireEntryPerBlock("layer_types", types, blocks);
  return types ? (index) => types[index] === type : byDefault;
}

interface WindowConfig extends LayerTypesConfig {
  /** Whether the blocks have windows. Some families do not have this setting. */
  readonly use_sliding_window?: boolean;
  readonly sliding_window?: number | null;
}

/**
 * Returns the attention window of each block, in the form of `LlamaTraits.window`.
 * @param byDefault returns whether a block has a window, for configurations without `layer_types`
 * @throws {ModelError} if `layer_types` does not have one entry per block
 */
export function readWindow(
  config: WindowConfig,
  byDefault: (index: number) => boolean,
): (index: number) => number {
  const { use_sliding_window: isUsed = true, sliding_window } = config;
  const isSliding = readLayerTypes(config, byDefault), window = isUsed ? sliding_window ?? 0 : 0;
  return (index) => isSliding(index) ? window : 0;
}

/** The settings that say in which blocks queries and keys rotate. */
export const noRopeShape = {
  /** For each block, 1 if its queries and keys rotate, and 0 otherwise. */
  no_rope_layers: stopAtFault(z.array(z.int())).nullish(),
  /** In configurations without `no_rope_layers`, queries and keys do not rotate in the last of every so many blocks. */
  no_rope_layer_interval: positiveInt.default(4),
};

type NoRopeConfig = z.infer<z.ZodObject<typeof noRopeShape>> & Pick<LayerTypesConfig, "num_hidden_layers">;

/**
 * Returns a function that says whether queries and keys rotate in a block.
 * @throws {ModelError} if `no_rope_layers` does not have one entry per block
 */
export function readRotatingBlocks(
  { no_rope_layers: flags, no_rope_layer_interval: interval, num_hidden_layers: blocks }: NoRopeConfig,
): (index: number) => boolean {
  requireEntryPerBlock("no_rope_layers", flags, blocks);
  return (index) => flags ? flags[index] !== 0 : (index + 1) % interval !== 0;
}

/** @throws {ModelError} if the setting `name` has a list without one entry per block */
function requireEntryPerBlock(
  name: string,
  list: readonly unknown[] | null | undefined,
  blocks: number,
): void {
  if (!list || list.length === blocks) return;
  throw configError(`${name} has ${list.length} entries, num_hidden_layers is ${blocks}`);
}
