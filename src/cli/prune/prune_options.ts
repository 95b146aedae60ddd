/** Declares the options of `pare prune`. */

import { Command, Option } from "commander";
import { WEIGHT_FORMATS, type WeightFormat } from "../../model/formats/formats.ts";
import { PACK_QUANTIZED } from "../../model/formats/pack_quantized.ts";
import type { HiddenStatesLocation } from "../../model/hidden_states/hidden_states.ts";
import { DEFAULT_TARGET_STEP } from "../../protocol/limits.ts";
import { DEFAULT_MODEL_METHOD } from "../../protocol/methods.ts";
import { DEFAULT_TOKEN_WEIGHTS } from "../../prune/run/job.ts";
import {
  addBackendOption,
  addCommonOptions,
  addMeasurementOptions,
  addSeedOption,
  addTargetOptions,
  addWindowOptions,
  allowOnly,
  appendValue,
  type BackendFlags,
  CALIBRATION_OPTION,
  type CommonOptions,
  integer,
} from "../options/common_options.ts";
import { addExample } from "../options/help.ts";
import { addHostPoolOptions, type HostPoolFlags } from "../options/server_options.ts";
import { addChoiceOptions, type ChoiceFlags } from "./choice_options.ts";
import { addLayerOptions, type LayerFlags } from "../options/layer_options.ts";
import { MODEL_ARGUMENT } from "../files/model_folder.ts";
import { type NamedOptions, presetHelp, PRESETS, PROTOCOL_NAMES } from "./named_options.ts";
import { FORMATS, RUNTIME_FORMATS } from "../export/formats.ts";

const HIDDEN_STATES_LOCATIONS: readonly HiddenStatesLocation[] = ["auto", "memory", "disk"];

/** The options as commander parses them. */
export interface PruneFlags
  extends CommonOptions, BackendFlags, HostPoolFlags, LayerFlags, ChoiceFlags, NamedOptions {
  readonly out: string;
  readonly trueSequential?: boolean;
  readonly allExperts?: boolean;
  readonly expertsAtOnce?: number;
  readonly activations: HiddenStatesLocation;
  readonly format: WeightFormat;
  readonly overwrite?: boolean;
  readonly restart?: boolean;
  readonly plan?: boolean;
  readonly imatrix?: string;
  readonly remote?: boolean;
}

/** The options of a run. */
export interface PruneOptions extends PruneFlags {
  readonly calibration: readonly string[];
}

/** Returns the command and its options, without the action. */
export function declarePrune(): Command {
  const command = new Command("prune")
    .description("prune the linear layers of a model's blocks and write the pruned checkpoint")
    .argument("<model>", MODEL_ARGUMENT)
    .requiredOption("--out <folder>", "where to write the pruned checkpoint");
  command.option(
    CALIBRATION_OPTION[0],
    `${CALIBRATION_OPTION[1]} (required without --protocol)`,
    appendValue,
  );
  addWindowOptions(command, 1)
    .addOption(new Option("--preset <name>", presetHelp()).choices(Object.keys(PRESETS)).default("default"))
    .addOption(
      new Option(
        "--protocol <protocol>",
        "set the options as in published experiments: sparsegpt sets --method sparsegpt, --calibration c4, --samples 128, " +
          "--seqlen 2048, --seed 0 and --validation 0, and adds --text wikitext2",
      ).choices(PROTOCOL_NAMES),
    );
  addSeedOption(command)
    .option(
      "--true-sequential",
      "calibrate each group of layers that share an input after the earlier groups of its block are pruned",
    )
    .option(
      "--all-experts",
      "run every calibration token through every expert of a mixture for the statistics, not only through those that the router chooses",
    )
    .option(
      "--experts-at-once <count>",
      "load and calibrate the experts of a block in parts of this many, so that a block needs the memory of a few experts; " +
        "the result does not change, but each part takes a pass through the block's attention",
      integer(1),
    );
  addTargetOptions(command)
    .addOption(
      new Option(
        "--activations <place>",
        "where the hidden states between blocks are stored; auto uses the disk if they take more than 4 GiB",
      )
        .choices(HIDDEN_STATES_LOCATIONS)
        .default("auto"),
    );
  addMeasurementOptions(command)
    .addOption(
      new Option(
        "--format <format>",
        `dense, which every program reads; or ${PACK_QUANTIZED}, which needs --bits 4 or 8; without --group-size, its grids are symmetric ` +
          "and for groups of 32 inputs, which plain from_pretrained of transformers 5 loads",
      )
        .choices(WEIGHT_FORMATS)
        .default("dense"),
    )
    .addOption(runtimeOption())
    .option(
      "--imatrix <file>",
      "also write the importance matrix of the result over the calibration windows, with which llama-quantize rounds a GGUF file to other types",
    )
    .option("--overwrite", "replace a checkpoint in the output folder")
    .option("--restart", "discard the unfinished run in the output folder and start over")
    .addOption(planOption());
  addChoiceOptions(command);
  command.option(
    "--remote",
    "have the hosts of --server, or a job of this edge, run and prune whole blocks, so that this machine only reads and writes the files",
  );
  addExample(
    command,
    "prune hf:facebook/opt-125m --out pruned --calibration c4.txt --sparsity 0.5 --text wikitext.txt",
    "prune hf:facebook/opt-125m --out pruned --protocol sparsegpt --sparsity 0.5",
    "prune ./llama --out pruned --calibration c4.jsonl --pattern 2:4 --server http://gpu-1:8000",
    "prune ./llama --out rounded --calibration c4.jsonl --for gguf:q4_0",
  );
  return addCommonOptions(
    addBackendOption(addHostPoolOptions(addLayerOptions(command, DIFFERENCES))),
  );
}

/** The defaults of whole models, and what parameters mean in a run. */
const DIFFERENCES = {
  method: { value: DEFAULT_MODEL_METHOD },
  token_weights: {
    value: DEFAULT_TOKEN_WEIGHTS,
    description:
      "how much each calibration input x counts: none adds x·xᵀ, as published; unit first scales x to a fixed length",
  },
  damping: {
    description:
      "λ; λ times the mean of the Hessian's diagonal is added to the diagonal. auto chooses λ, or shrinks " +
      "the Hessian towards its diagonal, by the windows that --validation holds out",
  },
  target_step: {
    description:
      "the size of the step by which --target dense moves the weights before they are pruned: 1 is the whole " +
      `step, and auto chooses by the windows that --validation holds out. Defaults to auto if windows are held out, else to ${DEFAULT_TARGET_STEP}`,
  },
} as const satisfies Parameters<typeof addLayerOptions>[1];

/** Returns the option `--plan`. `pare prune` and `pare shrink` have it. */
export function planOption(): Option {
  return new Option(
    "--plan",
    "print the files, time, memory, disk space and traffic that the run needs, from a short measurement, and write nothing",
  );
}

/** Returns the option `--for`. `pare prune` and `pare shrink` have it. */
export function runtimeOption(): Option {
  const paths = new Set(RUNTIME_FORMATS.map((name) => FORMATS[name].target!.path));
  const option = new Option(
    "--for <format>",
    `round to the grid of this format of pare export, and also export the result to ${
      [...paths].join(" or ")
    } in the output folder; sets ` +
      "--bits, --group-size, --symmetric, --scale-bits, --scale-dtype and --format",
  );
  return allowOnly(option, RUNTIME_FORMATS);
}
