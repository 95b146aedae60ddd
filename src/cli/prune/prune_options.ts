/** Declares the options of `pare prune`, and returns those that its report has. */

import { Command, Option } from "commander";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { DEFAULT_TARGET_STEP } from "../../protocol/limits.ts";
import { DEFAULT_MODEL_METHOD } from "../../protocol/methods.ts";
import { effectiveParameters, layerQuerySchema } from "../../protocol/parameters.ts";
import { RUN_OPTION_NAMES } from "../../protocol/run/run_options.ts";
import { choiceParameters } from "../../prune/run/fingerprint.ts";
import { DEFAULT_TOKEN_WEIGHTS } from "../../prune/run/job.ts";
import {
  addBackendOption,
  addCalibrationOption,
  addCommonOptions,
  addTextOption,
  allowOnly,
  type BackendFlags,
  type CommonOptions,
} from "../options/common_options.ts";
import { addExample, shortenHelp } from "../options/help.ts";
import { addHostPoolOptions, type HostPoolFlags } from "../options/server_options.ts";
import { addRunOptions } from "../options/run_options.ts";
import { addLayerOptions, type LayerFlags, OPTION_PARAMETERS } from "../options/layer_options.ts";
import { MODEL_ARGUMENT } from "../files/model_folder.ts";
import { type NamedOptions, presetHelp, PRESETS, PROTOCOL_NAMES } from "./named_options.ts";
import { RUNTIME_FORMATS } from "../export/formats.ts";

/** The options as commander parses them. */
export interface PruneOptions extends CommonOptions, BackendFlags, HostPoolFlags, LayerFlags, NamedOptions {
  readonly out: string;
  readonly imatrix?: string;
}

/** Returns the command and its options, without the action. */
export function declarePrune(): Command {
  const command = new Command("prune")
    .description("prune the linear layers of a model's blocks and write the pruned checkpoint")
    .argument("<model>", MODEL_ARGUMENT)
    .requiredOption("--out <folder>", "where to write the pruned checkpoint");
  addExample(
    command,
    "prune facebook/opt-125m --out pruned --sparsity 0.5 --text pare",
    "prune facebook/opt-125m --out pruned --protocol sparsegpt --sparsity 0.5",
    "prune ./llama --out pruned --calibration c4.jsonl --pattern 2:4 --server http://gpu-1:8000",
    "prune ./llama --out rounded --for gptq",
  );
  return addPruneOptions(command, runtimeOption(), ["sparsity", "pattern", "bits"]);
}

/**
 * Declares the options of a run except its model and its output.
 * @param runtime the option `--for`
 * @param layerOptions the options about layers that `--help` shows
 */
export function addPruneOptions(
  command: Command,
  runtime: Option,
  layerOptions: readonly (keyof LayerFlags)[] = [],
): Command {
  addCalibrationOption(command).addOption(
    new Option("--preset <name>", presetHelp()).choices(Object.keys(PRESETS)).default("default"),
  )
    .addOption(
      new Option(
        "--protocol <protocol>",
        "set the options as in published experiments: sparsegpt sets --method sparsegpt, --calibration c4, --samples 128, " +
          "--seqlen 2048, --seed 0 and --validation 0, and adds --text wikitext2",
      ).choices(PROTOCOL_NAMES),
    );
  addRunOptions(addTextOption(command), ...RUN_OPTION_NAMES)
    .addOption(runtime)
    .option(
      "--imatrix <file>",
      "also write the importance matrix of the result over the calibration windows, with which llama-quantize rounds a GGUF file to other types",
    );
  addCommonOptions(addBackendOption(addHostPoolOptions(addLayerOptions(command, DIFFERENCES))));
  return shortenHelp(command, {
    "Result:": ["out", "for", ...layerOptions, "preset"],
    "Texts:": ["calibration", "samples", "text"],
    "Run:": ["backend", "server", "plan", "overwrite"],
  });
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

/** Returns the option `--for` of `pare prune` and `pare shrink`. */
export function runtimeOption(): Option {
  const option = new Option(
    "--for <format>",
    "round to the grid of this format of pare export, and write the result in it; sets " +
      "--bits, --group-size, --symmetric, --scale-bits, --scale-dtype and --format",
  );
  return allowOnly(option, RUNTIME_FORMATS);
}

/**
 * Returns the parameters of the layers and of the choice of layers, by their names in `pare.json`.
 * @param query the parameters of the layers as they were given
 */
export function reportedParameters(query: LayerQuery, options: PruneOptions): Record<string, unknown> {
  const given = effectiveParameters(layerQuerySchema.parse(query));
  const parameters = {
    ...Object.fromEntries(OPTION_PARAMETERS.map((name) => [name, given[name]])),
    ...choiceParameters(options),
    preset: options.preset === "default" ? undefined : options.preset,
    protocol: options.protocol,
    for: options.for,
  };
  return Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== undefined));
}
