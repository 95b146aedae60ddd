/** Checks, before any work, that options of `pare prune` fit each other, the model and the parameters of its layers. */

import type { QueryOf } from "../../client/model_pruner.ts";
import { blocksOf, type ModelSpec } from "../../model/families/family.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { NamedLayer } from "../../prune/choose_layers.ts";
import { UsageError } from "../errors.ts";
import { optionName } from "../options/layer_options.ts";
import { presetHint } from "./named_options.ts";
import type { PruneOptions } from "./prune_options.ts";

/** @throws {UsageError} naming the option, with its value, and the rule */
function refuse(option: string, rule: string): never {
  throw new UsageError(`option --${option}: ${rule}`);
}

/** Checks `--remote`. @param servers the URLs of `--server` @throws {UsageError} naming the rule */
export function checkRemote(options: PruneOptions, servers: readonly string[]): void {
  const { remote, plan, allocate, activations, expertsAtOnce, allExperts } = options;
  if (!remote) return;
  const rule = servers.length === 0
    ? "needs a --server, got none"
    : plan
    ? "does not work with --plan, which measures this machine"
    : allocate !== "uniform"
    ? `does not work with --allocate ${allocate}, which runs the model on this machine`
    : activations !== "auto"
    ? `keeps the hidden states at the host, so it does not work with --activations ${activations}`
    : expertsAtOnce !== undefined || allExperts
    ? "sends whole blocks, so it does not work with --experts-at-once and --all-experts"
    : undefined;
  if (rule !== undefined) refuse("remote", rule);
}

/**
 * Checks `--target` and `--target-step`.
 * @param layers the layers that are pruned
 * @throws {UsageError} naming the option or the layer, and the rule
 */
export function checkTarget(
  { target, preset, activations }: PruneOptions,
  layers: readonly NamedLayer[],
  queryOf: QueryOf,
): void {
  if (target === "none") {
    const stepped = layers.find(({ name }) => queryOf(name).target_step !== undefined)?.name;
    if (stepped === undefined) return;
    refuse(
      `target-step ${queryOf(stepped).target_step}`,
      `needs --target dense, which gives ${stepped} a target`,
    );
  }
  if (activations !== "disk") return;
  const rule =
    "keeps the hidden states of the dense model in memory, so it does not work with --activations disk";
  refuse(`target ${target}`, rule + presetHint(preset, "target"));
}

/** Checks `--reconstruct`. @param layers the layers of the run @throws {UsageError} naming the option, the rule and the value */
export function checkReconstruct(
  { reconstruct, activations, target, preset }: PruneOptions,
  layers: readonly NamedLayer[],
  queryOf: QueryOf,
): void {
  if (reconstruct === 0) return;
  const rule = activations === "disk"
    ? "keeps the outputs of the dense blocks in memory, so it does not work with --activations disk"
    : target === "none" && layers.every(({ name }) => queryOf(name).sparsity === 0)
    ? "trains blocks before they are rounded, so without zeros it needs --target dense, or a --sparsity above 0"
    : undefined;
  if (rule !== undefined) refuse(`reconstruct ${reconstruct}`, rule + presetHint(preset, "reconstruct"));
}

/** Checks `--experts-at-once` and `--all-experts`. @throws {UsageError} naming the option, the rule and the value */
export function checkExperts(
  { expertsAtOnce, allExperts, target, reconstruct, preset }: PruneOptions,
  spec: ModelSpec,
): void {
  const isDivided = expertsAtOnce !== undefined;
  if (!isDivided && !allExperts) return;
  const option = isDivided ? `experts-at-once ${expertsAtOnce}` : "all-experts";
  if (blocksOf(spec).every(({ traits }) => traits?.mixture === undefined)) {
    refuse(option, "needs a mixture of experts, and the model has no experts");
  }
  if (target === "dense") {
    const reason = isDivided
      ? "solves all layers of a block together"
      : "would keep a copy of the inputs of all tokens for every expert";
    refuse(option, `does not work with --target dense, which ${reason}${presetHint(preset, "target")}`);
  }
  if (isDivided && reconstruct > 0) {
    const rule = "does not work with --reconstruct, which trains all layers of a block together";
    refuse(option, rule + presetHint(preset, "reconstruct"));
  }
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
