/**
 * Declares the options that say how a layer is pruned, such as `--sparsity`. The options become parameters of
 * the HTTP request that prunes the layer.
 */

import type { Command } from "commander";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { layerQuerySchema } from "../../protocol/parameters.ts";
import { UsageError } from "../exit.ts";

/** The options as the user wrote them. The schema of the HTTP API parses and checks these texts. */
export interface LayerFlags {
  readonly method?: string;
  readonly sparsity?: string;
  readonly pattern?: string;
  readonly blocksize?: string;
  readonly damping?: string;
  readonly refit?: string;
  readonly effort?: string;
}

/** The names of the options, which are those of the parameters. */
const NAMES = ["method", "sparsity", "pattern", "blocksize", "damping", "refit", "effort"] as const;

/** Declares the options on `command`. */
export function addLayerOptions(command: Command): Command {
  return command
    .option("--method <name>", "sparsegpt, alps, wanda, adaprune, obc or magnitude (default: sparsegpt)")
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
      "conjugate-gradient steps that fit the kept weights to the mask (default: 10 for alps and adaprune, else 0)",
    )
    .option(
      "--effort <level>",
      "fast, default or best: how much work alps spends on the mask (default: default)",
    );
}

/**
 * Parses the options that were given. The host, which is the server that prunes the layer, fills in the
 * defaults of the other options.
 * @throws {UsageError} naming every invalid option, its value and the rule
 */
export function layerQuery(flags: LayerFlags): LayerQuery {
  const given: Partial<Record<typeof NAMES[number], string>> = {};
  for (const name of NAMES) if (flags[name] !== undefined) given[name] = flags[name];
  const parsed = layerQuerySchema.safeParse(given);
  if (!parsed.success) {
    throw new UsageError(
      parsed.error.issues.map(({ path, message }) => {
        const option = path[0] as typeof NAMES[number];
        return `option --${option} ${given[option] ?? ""}: ${message}`;
      }).join("; "),
    );
  }
  const parameters = NAMES.filter((name) => name in given).map((name) => [name, parsed.data[name]]);
  return Object.fromEntries(parameters);
}
