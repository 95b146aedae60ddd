/**
 * Declares the options that say how a layer is pruned, such as `--sparsity`. The options become parameters of
 * the HTTP request that prunes the layer.
 */

import type { Command } from "commander";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { DEFAULT_REFIT_STEPS } from "../../protocol/limits.ts";
import {
  DEFAULT_METHOD,
  EFFORTS,
  METHOD_NAMES,
  type MethodName,
  methodsThat,
} from "../../protocol/methods.ts";
import { layerQuerySchema } from "../../protocol/parameters.ts";
import { UsageError } from "../errors.ts";

/** The options as the user wrote them. The schema of the HTTP API parses and checks these texts. */
export interface LayerFlags extends RoundingFlags {
  readonly method?: string;
  readonly sparsity?: string;
  readonly pattern?: string;
  readonly blocksize?: string;
  readonly damping?: string;
  readonly refit?: string;
  readonly effort?: string;
}

/** The options of rounding, as the user wrote them. */
export interface RoundingFlags {
  readonly bits?: string;
  readonly groupSize?: string;
  readonly symmetric?: boolean;
  readonly order?: string;
}

/** The options, and the parameter that each of them sets. */
const PARAMETERS = {
  method: "method",
  sparsity: "sparsity",
  pattern: "pattern",
  blocksize: "blocksize",
  damping: "damping",
  refit: "refit",
  effort: "effort",
  bits: "bits",
  groupSize: "group_size",
  symmetric: "symmetric",
  order: "order",
} as const satisfies Record<keyof LayerFlags, keyof LayerQuery>;

/**
 * Declares the options on `command`.
 * @param defaultMethod the method of the command. Without it the host uses the default of the API
 */
export function addLayerOptions(command: Command, defaultMethod?: MethodName): Command {
  const methods = `one of ${METHOD_NAMES.join(", ")}`;
  command
    .option(
      "--method <name>",
      defaultMethod ? methods : `${methods} (default: ${DEFAULT_METHOD})`,
      defaultMethod,
    )
    .option("--sparsity <fraction>", "fraction of the weights to prune, 0 ≤ s < 1 (default: 0.5)")
    .option(
      "--pattern <pattern>",
      "unstructured, or n:m, which keeps at most n of every m inputs (default: unstructured)",
    )
    .option(
      "--blocksize <columns>",
      "columns per block of the solve; with n:m, a multiple of m (default: 128)",
    )
    .option(
      "--damping <lambda>",
      "fraction of the mean of the Hessian's diagonal that is added to the diagonal (default: 0.01)",
    )
    .option(
      "--refit <steps>",
      `conjugate-gradient steps that fit the kept weights to the mask (default: ${DEFAULT_REFIT_STEPS} for ${
        methodsThat(({ refitSteps }) => refitSteps)
      }, else 0)`,
    )
    .option(
      "--effort <level>",
      `one of ${EFFORTS.join(", ")}: how much work to spend on the mask, for ${
        methodsThat(({ hasEffort }) => hasEffort)
      } (default: default)`,
    );
  return addRoundingOptions(command);
}

/** Declares the options that say how the kept weights are rounded. */
export function addRoundingOptions(command: Command): Command {
  return command
    .option("--bits <n>", "round the kept weights to 2^n values, 2 to 8 (default: no rounding)")
    .option("--group-size <columns>", "columns that share a rounding grid; 0 means a whole row (default: 0)")
    .option("--symmetric", "round to grids that are symmetric about 0")
    .option(
      "--order <order>",
      "natural, or activation, which rounds the columns of the largest inputs first (default: natural)",
    );
}

/**
 * Parses the options that were given. The host, which is the server that prunes the layer, fills in the
 * defaults of the other options.
 * @throws {UsageError} naming every invalid option, its value and the rule
 */
export function layerQuery(flags: LayerFlags): LayerQuery {
  const options = Object.entries(PARAMETERS) as [keyof LayerFlags, keyof LayerQuery][];
  const given = options.filter(([option]) => flags[option] !== undefined);
  const parsed = layerQuerySchema.safeParse(
    Object.fromEntries(given.map(([option, name]) => [name, flags[option]])),
  );
  if (!parsed.success) {
    throw new UsageError(
      parsed.error.issues.map(({ path, message }) => {
        const [option, name] = options.find(([, name]) => name === path[0])!, value = flags[option];
        // A flag has no value on the command line, so the value is left out of the message too.
        if (value === true) return `option --${optionName(name)}: ${message.replace(/^true /, "")}`;
        return `option --${optionName(name)} ${value ?? ""}: ${message}`;
      }).join("; "),
    );
  }
  return Object.fromEntries(given.map(([, name]) => [name, parsed.data[name]]));
}

/** Returns the name of the option that sets `parameter`. The option of `group_size` is `group-size`. */
export function optionName(parameter: string): string {
  return parameter.replaceAll("_", "-");
}
