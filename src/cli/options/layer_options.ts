/**
 * Declares the options that say how a layer is pruned, such as `--sparsity`. The options become parameters of
 * the HTTP request that prunes the layer.
 */

import type { Command } from "commander";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { DEFAULT_SPARSITY } from "../../protocol/limits.ts";
import { type ParameterText, parameterTexts } from "../../protocol/parameter_texts.ts";
import { layerQuerySchema, ROUNDING_PARAMETERS } from "../../protocol/parameters.ts";
import { UsageError } from "../errors.ts";
import { METHOD_SOLVERS } from "../../layer/methods.ts";
import type { SizedLayer } from "../../prune/block_plan.ts";
import { LayerSizeError } from "../../layer/solvers/solver.ts";

/** The parameters that no option sets. The commands choose the statistics and the dtype, and always want the error. */
const WITHOUT_OPTION = ["error", "dtype", "hessian"] as const satisfies (keyof LayerQuery)[];

type LayerParameter = Exclude<keyof LayerQuery, (typeof WITHOUT_OPTION)[number]>;

/** The name under which commander stores an option, such as `groupSize` for `group_size`. */
type FlagName<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<FlagName<Tail>>}`
  : Name;

/** The options as the user wrote them. The schema of the HTTP API parses and checks these texts. */
export type LayerFlags = {
  readonly [Name in LayerParameter as FlagName<Name>]?: boolean extends LayerQuery[Name] ? boolean : string;
};

/** The options of rounding, as the user wrote them. */
export type RoundingFlags = Pick<LayerFlags, FlagName<(typeof ROUNDING_PARAMETERS)[number]>>;

/** The sparsity of `layerQuery`. */
const SPARSITY_TEXT =
  `The fraction of weights to prune. Defaults to 0 with --bits, else to ${DEFAULT_SPARSITY}. May be omitted with an n:m pattern`;

const TEXTS = parameterTexts().filter(({ name }) => !(WITHOUT_OPTION as readonly string[]).includes(name))
  .map((text) => text.name === "sparsity" ? { ...text, description: SPARSITY_TEXT } : text);
const [ROUNDING, OTHERS] = [true, false].map((isRounding) =>
  TEXTS.filter(({ name }) => (ROUNDING_PARAMETERS as string[]).includes(name) === isRounding)
);

/** The parameters that options set, in the order of help texts and reports. */
export const OPTION_PARAMETERS = [...OTHERS, ...ROUNDING].map(({ name }) => name as LayerParameter);

/** A difference of a command from the HTTP API: another default of a parameter, or another meaning as an option. */
export interface OptionDifference {
  /** Without it the host uses the default of the API. */
  readonly value?: string;
  readonly description?: string;
}

/** Declares the options on `command`. */
export function addLayerOptions(
  command: Command,
  differences: Partial<Record<LayerParameter, OptionDifference>> = {},
): Command {
  for (const text of OTHERS) {
    const { value, description = text.description } = differences[text.name as LayerParameter] ?? {};
    addOption(command, { ...text, description, ...value !== undefined && { preset: undefined } }, value);
  }
  return addRoundingOptions(command);
}

/** Declares some of the options, without their defaults. */
export function addSomeLayerOptions(command: Command, ...names: readonly LayerParameter[]): Command {
  for (const name of names) {
    addOption(command, { ...TEXTS.find((text) => text.name === name)!, preset: undefined });
  }
  return command;
}

/** Declares the options that say how the kept weights are rounded. */
export function addRoundingOptions(command: Command): Command {
  for (const text of ROUNDING) addOption(command, text);
  return command;
}

function addOption(
  command: Command,
  { name, description, type, choices, range, preset }: ParameterText,
  value?: string,
) {
  const argument = {
    boolean: "",
    integer: " <n>",
    number: choices.length ? " <value>" : " <number>",
    string: choices.length ? " <name>" : " <value>",
  };
  const isListed = choices.every((choice) => description.includes(choice));
  const values = range ?? (isListed ? "" : choices.join(", "));
  const facts = [values, preset && type !== "boolean" ? `default: ${preset}` : ""].filter((fact) =>
    fact !== ""
  );
  const help = withOptionNames(description).replace(/^[A-Z]/, (letter) => letter.toLowerCase()) +
    (facts.length ? ` (${facts.join("; ")})` : "");
  command.option(`--${optionName(name)}${argument[type]}`, help, value);
}

/** The parameters whose names cannot be ordinary words, because they contain an underscore. */
const PARAMETER_NAMES = new RegExp(
  `\\b(${OPTION_PARAMETERS.filter((name) => name.includes("_")).join("|")})\\b`,
  "g",
);

/** Names parameters in a sentence of the HTTP API by their options. */
export function withOptionNames(text: string): string {
  return text.replace(PARAMETER_NAMES, (name) => `--${optionName(name)}`);
}

/**
 * Parses the options that were given. The host, which is the server that prunes the layer, fills in the defaults of the other options.
 * If bits are given without a sparsity and a pattern, the command only rounds, because few programs use zeros among codes.
 * @throws {UsageError} naming every invalid option, its value and the rule
 */
export function layerQuery(flags: LayerFlags): LayerQuery {
  const options = OPTION_PARAMETERS.map((name) => [flagName(name), name] as const);
  const given = options.filter(([option]) => flags[option] !== undefined);
  const parsed = layerQuerySchema.safeParse(
    Object.fromEntries(given.map(([option, name]) => [name, flags[option]])),
  );
  if (!parsed.success) {
    throw new UsageError(
      parsed.error.issues.map(({ path, message }) => {
        const [option, name] = options.find(([, name]) => name === path[0])!, value = flags[option];
        // A flag has no value on the command line, so the value is left out of the message too.
        if (value === true) {
          return `option --${optionName(name)}: ${withOptionNames(message.replace(/^true /, ""))}`;
        }
        return `option --${optionName(name)} ${value ?? ""}: ${withOptionNames(message)}`;
      }).join("; "),
    );
  }
  const { bits, sparsity, pattern = "unstructured" } = flags;
  const onlyRounds = bits !== undefined && sparsity === undefined && pattern === "unstructured";
  return {
    ...onlyRounds && { sparsity: 0 },
    ...Object.fromEntries(given.map(([, name]) => [name, parsed.data[name]])),
  };
}

function flagName(parameter: string): keyof LayerFlags {
  return parameter.replace(/_./g, ([, letter]) => letter.toUpperCase()) as keyof LayerFlags;
}

/** Returns the name of the option that sets `parameter`. The option of `group_size` is `group-size`. */
export function optionName(parameter: string): string {
  return parameter.replaceAll("_", "-");
}

/**
 * Checks, before any work, that no layer is too large for its method.
 * @param option the option that chooses the method, with its value. Without it, the option is `--method`
 * @throws {UsageError} naming the option, the layer and the limit
 */
export function checkMethodSizes(
  layers: readonly SizedLayer[],
  queryOf: (name: string) => LayerQuery,
  option?: string,
): void {
  for (const { name, rows, cols } of layers) {
    const { method } = queryOf(name);
    try {
      if (method) METHOD_SOLVERS[method].checkShape?.(rows, cols);
    } catch (error) {
      if (!(error instanceof LayerSizeError)) throw error;
      throw new UsageError(`option ${option ?? `--method ${method}`}: ${name}: ${error.message}`, {
        cause: error,
      });
    }
  }
}
