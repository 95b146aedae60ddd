/**
 * Reads the member `quantization_config` of a checkpoint that compressed-tensors wrote. Its config groups say which linear layers are
 * quantised and how, as `quantization/quant_config.py` and `quant_args.py` in github.com/vllm-project/compressed-tensors define. Every member must have a value that Pare
 * understands, because a member that is not read could change the meaning of the codes.
 */

import { ModelError } from "../../../base/files/file_error.ts";
import { isObject } from "../../../base/json.ts";
import type { GridOptions } from "../../../tensor/quantization.ts";
import { QUANTIZATION_KEY, quantizationOf, unsupportedMember } from "./quantization_config.ts";
import { PACKED_BITS } from "../codes/packed_words.ts";

/** The rows and columns of a block with one scale. The last blocks of a matrix may be smaller. */
export type Block = readonly [rows: number, cols: number];

/** The grid of the layers of one config group. */
export interface GridKind extends GridOptions {
  readonly group: string;
  /** The layers of the group: names of modules, `re:` and a regular expression, or the class `Linear`. */
  readonly targets: readonly string[];
  readonly type: string;
  /** The part of a weight that has one grid: `tensor`, `channel`, `group` or `block`. */
  readonly strategy: string;
  /** Undefined with strategies other than `block`. */
  readonly block?: Block;
}

/** The grids of a quantised checkpoint. */
export interface GridKinds {
  readonly kinds: readonly GridKind[];
  /** The layers that are not quantised, in the forms of `targets`. */
  readonly ignore: readonly string[];
}

/** A rule for the value of a member: the values that are needed, as the end of a sentence, and the check. */
type Rule = readonly [needed: string, accepts: (value: unknown) => boolean];

const isAbsent = (value: unknown) => value === undefined || value === null;
const isListOfTexts = (value: unknown) =>
  Array.isArray(value) && value.every((item) => typeof item === "string");
const isEmptyOr = (format: unknown) => (value: unknown) =>
  isAbsent(value) ||
  isObject(value) && (Object.keys(value).length === 0 || format !== undefined && value.format === format);
export const oneOf = (...values: readonly unknown[]): Rule => [
  values.map((value) => value === undefined ? "absent" : String(value)).join(" or "),
  (value) => values.includes(value ?? undefined),
];

/** Whether a value is the numbers of rows and columns of a block. */
export function isBlock(value: unknown): value is Block {
  return Array.isArray(value) && value.length === 2 &&
    value.every((size) => Number.isSafeInteger(size) && size > 0);
}

/** Reads `block_structure`, a list or a text such as "128x128", as older versions of the library write it. Undefined if it is neither. */
function readBlock(value: unknown): Block | undefined {
  const sizes = typeof value === "string" ? value.split("x").map(Number) : value;
  return isBlock(sizes) ? sizes : undefined;
}

/** The rule for `block_structure` in formats that have blocks. */
export const BLOCK: Rule = [
  "two positive integers, or absent",
  (value) => isAbsent(value) || readBlock(value) !== undefined,
];

const ABSENT: Rule = ["absent", isAbsent];

/** The rule for members that do not say what a code stands for, for example how the scales were found. */
export const ANYTHING: Rule = ["anything", () => true];

type Rules = Readonly<Record<string, Rule>>;

/** The rules of one format that replace the rules of `pack-quantized`. */
export interface FormatRules {
  readonly config?: Rules;
  readonly group?: Rules;
  readonly weights?: Rules;
}

const CONFIG_RULES: Rules = {
  quant_method: ANYTHING, // `storedFormat` has checked this member and the next
  format: ANYTHING,
  quantization_status: oneOf("compressed", undefined),
  config_groups: [
    "an object with at least one group",
    (value) => isObject(value) && Object.keys(value).length > 0,
  ],
  ignore: ["a list of names, or absent", (value) => isAbsent(value) || isListOfTexts(value)],
  kv_cache_scheme: ABSENT,
  sparsity_config: ["dense or absent", isEmptyOr("dense")],
  transform_config: ["empty or absent", isEmptyOr(undefined)],
  global_compression_ratio: ANYTHING,
  version: ANYTHING,
  dequantize: ANYTHING, // how a program last loaded the model
  run_compressed: ANYTHING,
};

const GROUP_RULES: Rules = {
  targets: ["a list of names", isListOfTexts],
  weights: ["an object", isObject],
  input_activations: ABSENT,
  output_activations: ABSENT,
  format: oneOf("pack-quantized", undefined),
};

const WEIGHT_RULES: Rules = {
  num_bits: ["an integer from 2 to 8", (bits) => PACKED_BITS.includes(bits as number)],
  type: oneOf("int"),
  strategy: oneOf("channel", "group"),
  symmetric: oneOf(true, false, undefined),
  group_size: ["a positive integer, or absent", (value) => isAbsent(value) || Number.isInteger(value)],
  dynamic: oneOf(false, undefined),
  // With other values of `actorder`, the groups consist of columns that a tensor of their own lists.
  actorder: oneOf("weight", "static", false, undefined),
  block_structure: ABSENT,
  observer: ANYTHING,
  observer_kwargs: ANYTHING,
  scale_dtype: ANYTHING, // the tensors have the dtypes
  zp_dtype: ANYTHING,
};

/**
 * Reads the grids from `quantization_config`.
 * @param rules the rules of a format other than `pack-quantized`
 * @throws {ModelError} naming a member that is unknown, or whose value Pare does not support
 */
export function readGridKinds(
  folder: string,
  config: Readonly<Record<string, unknown>>,
  rules: FormatRules = {},
): GridKinds {
  const description = quantizationOf(config) as Record<string, unknown>;
  requireMembers(folder, "", description, { ...CONFIG_RULES, ...rules.config });
  const { config_groups: groups, ignore } = description;
  const kinds = Object.entries(groups as Record<string, unknown>).map(([name, group]) =>
    readGroup(folder, name, group, rules)
  );
  return { kinds, ignore: (ignore ?? []) as string[] };
}

function readGroup(folder: string, group: string, value: unknown, rules: FormatRules): GridKind {
  const members = isObject(value) ? value : {};
  requireMembers(folder, `${group}.`, members, { ...GROUP_RULES, ...rules.group });
  const weights = members.weights as Record<string, unknown>;
  requireMembers(folder, `${group}.weights.`, weights, { ...WEIGHT_RULES, ...rules.weights });
  const { num_bits: bits, type, strategy, symmetric, group_size: size } = weights;
  const block = readBlock(weights.block_structure);
  const groupSize = Number(size ?? -1);
  if (strategy === "group" ? groupSize < 1 : groupSize !== -1) { // the library also writes −1 for an absent size
    const needed = strategy === "group" ? "a positive integer" : `absent with the strategy ${strategy}`;
    throw unsupportedMember(folder, `${group}.weights.group_size`, needed, size);
  }
  if ((strategy === "block") !== (block !== undefined)) {
    throw unsupportedMember(
      folder,
      `${group}.weights.block_structure`,
      "given with the strategy block only",
      weights.block_structure,
    );
  }
  return {
    group,
    targets: members.targets as string[],
    type: type as string,
    strategy: strategy as string,
    block,
    bits: bits as number,
    groupSize: Math.max(groupSize, 0),
    symmetric: symmetric !== false, // the library's default is true
  };
}

/**
 * Returns the grid of a layer, as the library chooses it: by its name, by a regular expression, or by its class, in this order.
 * @param stem the name of the layer's weight without `.weight`
 * @throws {ModelError} if no config group has the layer, or if the layer is to be ignored
 */
export function gridKindOf(folder: string, stem: string, { kinds, ignore }: GridKinds): GridKind {
  const reason = (member: string, text: string) =>
    new ModelError(`${folder}: ${stem} is quantised, but ${QUANTIZATION_KEY}.${member} ${text}`);
  if (ignore.some((target) => specificity(folder, stem, target) > 0)) throw reason("ignore", "lists it");
  const ranked = kinds.map((kind) => ({
    kind,
    rank: Math.max(0, ...kind.targets.map((target) => specificity(folder, stem, target))),
  }));
  const best = ranked.reduce((a, b) => b.rank > a.rank ? b : a);
  if (best.rank === 0) throw reason("config_groups", "has no target for it");
  return best.kind;
}

/** Returns 3 if `target` is the name of a layer, 2 if it is a regular expression that matches it, 1 if it is its class, and 0 otherwise. */
function specificity(folder: string, stem: string, target: string): number {
  if (target === "Linear") return 1;
  // A checkpoint that was saved without a head lacks the first part of the names of modules.
  const names = [stem, `model.${stem}`, `transformer.${stem}`];
  if (!target.startsWith("re:")) return names.includes(target) ? 3 : 0;
  try {
    const expression = new RegExp(`^(?:${target.slice("re:".length)})`); // Python's `re.match` starts at the first character
    return names.some((name) => expression.test(name)) ? 2 : 0;
  } catch (cause) {
    throw new ModelError(
      `${folder}: ${QUANTIZATION_KEY}: ${
        JSON.stringify(target)
      } is not a regular expression that Pare can read`,
      { cause },
    );
  }
}

function requireMembers(
  folder: string,
  path: string,
  value: Readonly<Record<string, unknown>>,
  rules: Readonly<Record<string, Rule>>,
): void {
  const unknown = Object.keys(value).find((name) => !Object.hasOwn(rules, name) && !isAbsent(value[name]));
  if (unknown !== undefined) {
    const known = Object.keys(rules).join(", ");
    throw new ModelError(
      `${folder}: ${QUANTIZATION_KEY}.${path}${unknown} is not supported; the known members are ${known}`,
    );
  }
  for (const [name, [needed, accepts]] of Object.entries(rules)) {
    if (!accepts(value[name])) throw unsupportedMember(folder, path + name, needed, value[name]);
  }
}
