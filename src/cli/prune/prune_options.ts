/** Declares the options of `pare prune`, and checks the options that depend on each other. */

import { Command, Option } from "commander";
import { PACK_FORMATS, type PackFormat } from "../../checkpoint/packed/format.ts";
import type { HiddenStatesLocation } from "../../models/hidden_states/hidden_states.ts";
import {
  addBackendOption,
  addCalibrationOption,
  addCommonOptions,
  addHostPoolOptions,
  addSamplesOption,
  addSeqlenOption,
  appendValue,
  type CommonOptions,
  type ConnectOptions,
  type HostPoolFlags,
  integer,
} from "../options/common_options.ts";
import { addChoiceOptions, type ChoiceFlags } from "./choice_options.ts";
import { addLayerOptions, type LayerFlags } from "../options/layer_options.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { fitsTwoOfFour, parsePattern } from "../../sparsity/pattern.ts";
import { UsageError } from "../exit.ts";
import { MODEL_ARGUMENT } from "../files/model_folder.ts";

const HIDDEN_STATES_LOCATIONS: readonly HiddenStatesLocation[] = ["auto", "memory", "disk"];

/** The options as commander parses them. */
export interface PruneOptions
  extends CommonOptions, Pick<ConnectOptions, "backend">, HostPoolFlags, LayerFlags, ChoiceFlags {
  readonly out: string;
  readonly calibration: string;
  readonly samples: number;
  readonly seqlen?: number;
  readonly seed?: number;
  readonly trueSequential?: boolean;
  readonly activations: HiddenStatesLocation;
  readonly text: readonly string[];
  readonly windows?: number;
  readonly format: "dense" | PackFormat;
  readonly overwrite?: boolean;
  readonly restart?: boolean;
}

/**
 * Checks, before any work, that the output format can store the pruned layers.
 * @throws {UsageError} if the format is sparse-24 and a layer may keep more than two of every four weights;
 * the message names the layer
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
export function checkHostPoolFlags({ server, jobs }: HostPoolFlags): void {
  if (!jobs || server.length === 1) return;
  throw new UsageError(
    `option --jobs: needs exactly one --server, which must be an edge; got ${server.length}`,
  );
}

/** Returns the command and its options, without the action. */
export function declarePrune(): Command {
  const command = new Command("prune")
    .description("prune the linear layers of a model's blocks and write the pruned checkpoint")
    .argument("<model>", MODEL_ARGUMENT)
    .requiredOption("--out <folder>", "where to write the pruned checkpoint");
  addSamplesOption(addCalibrationOption(command))
    .option(
      "--seed <n>",
      "choose the calibration windows at random with this seed (default: evenly spaced)",
      integer(0, 2 ** 32 - 1),
    )
    .option(
      "--true-sequential",
      "calibrate each group of layers that share an input after the earlier groups of its block are pruned",
    )
    .addOption(
      new Option(
        "--activations <place>",
        "where the hidden states between blocks are stored; auto uses the disk if they take more than 4 GiB",
      )
        .choices(HIDDEN_STATES_LOCATIONS)
        .default("auto"),
    )
    .option(
      "--text <file>",
      "a text to measure the perplexity on, before and after pruning; may be repeated",
      appendValue,
      [],
    )
    .option(
      "--windows <n>",
      "measure only the first n windows of each --text (default: all complete windows)",
      integer(1),
    )
    .addOption(
      new Option("--format <format>", "format of the output: dense, or one of the formats of pare pack")
        .choices(["dense", ...PACK_FORMATS])
        .default("dense"),
    )
    .option("--overwrite", "replace a checkpoint in the output folder")
    .option("--restart", "discard the unfinished run in the output folder and start over");
  addSeqlenOption(command, 1);
  addChoiceOptions(command);
  return addCommonOptions(addBackendOption(addHostPoolOptions(addLayerOptions(command))));
}
