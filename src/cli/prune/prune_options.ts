/** The options of `pare prune`. */

import { Command, Option } from "commander";
import { PACK_FORMATS, type PackFormat } from "../../checkpoint/packed/format.ts";
import type { StatesPlace } from "../../models/hidden_states/hidden_states.ts";
import { addChoiceOptions, type ChoiceFlags } from "./choice_options.ts";
import {
  addBackendOption,
  addCommonOptions,
  addHostPoolOptions,
  type CommonOptions,
  type ConnectOptions,
} from "../options/common_options.ts";
import { addLayerOptions, type LayerOptions } from "../options/layer_options.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { fitsTwoOfFour, parsePattern } from "../../sparsity/pattern.ts";
import { UsageError } from "../exit.ts";
import { MODEL_ARGUMENT } from "../files/model_folder.ts";
import { integer } from "../options/numbers.ts";
import type { RemotePrunerOptions } from "./remote_pruner.ts";
import { addSeqlenOption } from "../options/seqlen_option.ts";

/** The number of calibration windows in the published code. */
const DEFAULT_SAMPLES = 128;

const STATES_PLACES: readonly StatesPlace[] = ["auto", "memory", "disk"];

/** The options as commander parses them. */
export interface PruneOptions
  extends CommonOptions, Pick<ConnectOptions, "backend">, RemotePrunerOptions, LayerOptions, ChoiceFlags {
  readonly out: string;
  readonly calibration: string;
  readonly samples: number;
  readonly seqlen?: number;
  readonly seed?: number;
  readonly trueSequential?: boolean;
  readonly activations: StatesPlace;
  readonly text: readonly string[];
  readonly windows?: number;
  readonly format: "dense" | PackFormat;
  readonly overwrite?: boolean;
  readonly restart?: boolean;
}

/**
 * Checks, before any work, that the output format can store the pruned layers.
 * @throws {UsageError} naming the layer whose pattern leaves more than two of four weights, which sparse-24 cannot store
 */
export function checkFormat(
  format: PruneOptions["format"],
  names: Iterable<string>,
  queryOf: (name: string) => LayerQuery,
): void {
  if (format !== "sparse-24") return;
  for (const name of names) {
    const { pattern = "unstructured" } = queryOf(name);
    if (fitsTwoOfFour(parsePattern(pattern))) continue;
    throw new UsageError(
      `option --format sparse-24: stores at most two of every four weights, but ${name} is pruned ${pattern}; ` +
        "prune with --pattern 2:4, or use --format bitmask",
    );
  }
}

/** Checks that `--jobs` is used with exactly one server. @throws {UsageError} */
export function checkServers({ server, jobs }: RemotePrunerOptions): void {
  if (!jobs || server.length === 1) return;
  throw new UsageError(
    `option --jobs: needs exactly one --server, which must be an edge; got ${server.length}`,
  );
}

/** Declares the command and its options, without the action. */
export function declarePrune(): Command {
  const command = new Command("prune")
    .description("prune the linear layers of a model's blocks and write the pruned checkpoint")
    .argument("<model>", MODEL_ARGUMENT)
    .requiredOption("--out <folder>", "where to write the pruned checkpoint")
    .requiredOption(
      "--calibration <file>",
      "text to calibrate on: .txt, or .jsonl with one document per line",
    )
    .option("--samples <n>", "number of calibration windows", integer(1), DEFAULT_SAMPLES)
    .option(
      "--seed <n>",
      "choose the windows at random with this seed (default: evenly spaced)",
      integer(0, 2 ** 32 - 1),
    )
    .option(
      "--true-sequential",
      "calibrate each group of layers with the earlier layers of its block already pruned",
    )
    .addOption(
      new Option(
        "--activations <place>",
        "where hidden states are stored between blocks; auto means memory up to 4 GiB, then disk",
      )
        .choices(STATES_PLACES)
        .default("auto"),
    )
    .option(
      "--text <file>",
      "a text for the perplexity before and after pruning; repeatable",
      (file: string, earlier: readonly string[]) => [...earlier, file],
      [],
    )
    .option(
      "--windows <n>",
      "measure only the first n windows of each --text (default: all complete windows)",
      integer(1),
    )
    .addOption(
      new Option("--format <format>", "dense, or one of the packed layouts of pare pack")
        .choices(["dense", ...PACK_FORMATS])
        .default("dense"),
    )
    .option("--overwrite", "replace a checkpoint in the output folder")
    .option("--restart", "discard an unfinished run in the output folder");
  addSeqlenOption(command, 1);
  addChoiceOptions(command);
  return addCommonOptions(addBackendOption(addHostPoolOptions(addLayerOptions(command))));
}
