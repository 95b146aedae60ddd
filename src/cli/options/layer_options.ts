/** The options that say how a layer is to be solved: one for each parameter of the contract that this version serves. */

import type { Command } from "commander";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { layerQuerySchema } from "../../protocol/parameters.ts";
import { UsageError } from "../exit.ts";

/** The options as commander leaves them, still text: the contract's schema reads and checks them. */
export interface LayerOptions {
  readonly method?: string;
  readonly sparsity?: string;
  readonly pattern?: string;
  readonly blocksize?: string;
  readonly damping?: string;
}

/** Declares them on `command`. */
export function addLayerOptions(command: Command): Command {
  return command
    .option("--method <name>", "sparsegpt or magnitude (default: sparsegpt)")
    .option("--sparsity <fraction>", "fraction of the entries to prune, 0 ≤ s < 1 (default: 0.5)")
    .option(
      "--pattern <pattern>",
      "unstructured, or n:m: at most n kept in every m inputs (default: unstructured)",
    )
    .option("--blocksize <columns>", "columns a block, a multiple of m (default: 128)")
    .option("--damping <lambda>", "part of the mean diagonal added to the Hessian's (default: 0.01)");
}

/**
 * The parameters to send: those given, the host's defaults being left to it.
 * @throws {UsageError} naming each option against a rule, its value and the rule
 */
export function layerQuery({ method, sparsity, pattern, blocksize, damping }: LayerOptions): LayerQuery {
  const given = Object.fromEntries(
    Object.entries({ method, sparsity, pattern, blocksize, damping }).filter(([, value]) =>
      value !== undefined
    ),
  );
  const parsed = layerQuerySchema.safeParse(given);
  if (!parsed.success) {
    throw new UsageError(
      parsed.error.issues.map(({ path, message }) => {
        const option = String(path[0]);
        return `option --${option} ${given[option] ?? ""}: ${message}`;
      }).join("; "),
    );
  }
  const names = Object.keys(given) as (keyof LayerOptions)[];
  return Object.fromEntries(names.map((name) => [name, parsed.data[name]]));
}
