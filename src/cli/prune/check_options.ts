/** Checks, before any work, that options of `pare prune` fit each other, the model and the parameters of its layers. */

import type { QueryOf } from "../../protocol/run/solve_round.ts";
import { blocksOf, type ModelSpec } from "../../model/families/family.ts";
import { requireNoTokenInputs } from "../../model/token_inputs.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { NamedLayer } from "../../prune/choose_layers.ts";
import { type OptionConflict, optionConflicts } from "../../protocol/run/run_options.ts";
import { UsageError } from "../errors.ts";
import { optionName } from "../options/layer_options.ts";
import { presetHint } from "./named_options.ts";
import type { PruneOptions } from "./prune_options.ts";

/** @throws {UsageError} naming the option, with its value, and the rule */
function refuse(option: string, rule: string): never {
  throw new UsageError(`option --${option}: ${rule}`);
}

/** Checks that the options fit each other. @param servers the URLs of `--server` @throws {UsageError} naming an option and the rule */
export function checkConflicts(options: PruneOptions, servers: readonly string[] = []): void {
  if (options.remote && servers.length === 0) refuse("remote", "needs a --server, got none");
  refuseFirst(optionConflicts(options), options);
}

/** @throws {UsageError} naming the first conflict, if there is one */
function refuseFirst([first]: readonly OptionConflict[], { preset }: PruneOptions): void {
  if (!first) return;
  const { option, rule, names } = first;
  throw new UsageError(`option ${option}: ${rule}${names.map((name) => presetHint(preset, name)).join("")}`);
}

/**
 * Checks the options about hosts, targets, reconstructions and experts.
 * @param layers the layers that are pruned
 * @throws {UsageError} naming the option or the layer, and the rule
 */
export function checkLayers(
  options: PruneOptions,
  layers: readonly NamedLayer[],
  queryOf: QueryOf,
  spec: ModelSpec,
): void {
  const { remote, target } = options;
  if (remote) requireNoTokenInputs(spec);
  const stepped = layers.find(({ name }) => queryOf(name).target_step !== undefined)?.name;
  if (target === "none" && stepped !== undefined) {
    refuse(
      `target-step ${queryOf(stepped).target_step}`,
      `needs --target dense, which gives ${stepped} a target`,
    );
  }
  const queries = layers.map(({ name }) => queryOf(name));
  const hasExperts = blocksOf(spec).some(({ traits }) => traits?.mixture !== undefined);
  refuseFirst(optionConflicts(options, { queries, target, hasExperts }), options);
}

/** The parameters that held-out windows choose if they are `auto`. */
const CHOSEN = ["damping", "target_step"] as const satisfies (keyof LayerQuery)[];

/**
 * Checks that some windows are held out if a layer has a parameter that they choose.
 * @param heldOut the number of held-out windows
 * @throws {UsageError} naming the option and the first such layer
 */
export function checkHeldOut(
  layers: readonly Pick<NamedLayer, "name">[],
  queryOf: QueryOf,
  heldOut: number,
): void {
  if (heldOut > 0) return;
  for (const parameter of CHOSEN) {
    const open = layers.find(({ name }) => queryOf(name)[parameter] === "auto");
    if (!open) continue;
    refuse(
      `${optionName(parameter)} auto`,
      `${open.name}: held-out windows choose it, and this run holds out none: raise --validation or --samples, or set a number`,
    );
  }
}
