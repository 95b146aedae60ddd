/** Declares the options of `pare prune`, and the protocols, which are names for several options. */

import { Command, Option } from "commander";
import {
  PACK_QUANTIZED,
  WEIGHT_FORMATS,
  type WeightFormat,
} from "../../model/checkpoint/quantized/config.ts";
import type { HiddenStatesLocation } from "../../model/hidden_states/hidden_states.ts";
import { DEFAULT_MODEL_METHOD } from "../../protocol/methods.ts";
import {
  addBackendOption,
  addCommonOptions,
  addSamplesOption,
  addSeqlenOption,
  addValidationOption,
  appendValue,
  type BackendFlags,
  CALIBRATION_OPTION,
  type CommonOptions,
  integer,
} from "../options/common_options.ts";
import { TARGET_SOURCES, type TargetSource } from "../../prune/run/job.ts";
import { addExample } from "../options/help.ts";
import { addHostPoolOptions, type HostPoolFlags } from "../options/server_options.ts";
import { addChoiceOptions, type ChoiceFlags } from "./choice_options.ts";
import { addLayerOptions, type LayerFlags } from "../options/layer_options.ts";
import { MODEL_ARGUMENT } from "../files/model_folder.ts";
import { TEXT_VALUES } from "../files/text_source.ts";
import { NAMED_SEED } from "../../prune/read_calibration.ts";
import { parseTextReference, type TextName } from "../../prune/texts/named_texts.ts";
import { UsageError } from "../errors.ts";
import { GGUF_FILE, optionsForRuntime, RUNTIME_FORMATS, type RuntimeFormat } from "./runtime_format.ts";

/** The names of the protocols. */
const PROTOCOL_NAMES = ["sparsegpt"] as const;

/** The name of a protocol. */
export type ProtocolName = (typeof PROTOCOL_NAMES)[number];

const HIDDEN_STATES_LOCATIONS: readonly HiddenStatesLocation[] = ["auto", "memory", "disk"];

/** The options of a run. */
export interface PruneOptions extends CommonOptions, BackendFlags, HostPoolFlags, LayerFlags, ChoiceFlags {
  readonly out: string;
  readonly calibration: readonly string[];
  readonly samples: number;
  readonly validation: number;
  readonly seqlen?: number;
  readonly seed?: number;
  readonly trueSequential?: boolean;
  readonly target: TargetSource;
  readonly activations: HiddenStatesLocation;
  readonly text: readonly string[];
  readonly windows?: number;
  readonly format: WeightFormat;
  readonly overwrite?: boolean;
  readonly restart?: boolean;
  readonly plan?: boolean;
  readonly protocol?: ProtocolName;
  readonly for?: RuntimeFormat;
}

/** The options as commander parses them. A protocol may stand for the calibration text. */
export interface PruneFlags extends Omit<PruneOptions, "calibration"> {
  readonly calibration?: readonly string[];
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
  addValidationOption(addSamplesOption(command))
    .addOption(
      new Option(
        "--protocol <protocol>",
        "set the options as in published experiments: sparsegpt sets --method sparsegpt, --calibration c4, --samples 128, " +
          "--seqlen 2048, --seed 0 and --validation 0, and adds --text wikitext2",
      ).choices(PROTOCOL_NAMES),
    )
    .option(
      "--seed <n>",
      "choose the calibration windows at random with this seed (default: evenly spaced, and 0 for a named text)",
      integer(0, 2 ** 32 - 1),
    )
    .option(
      "--true-sequential",
      "calibrate each group of layers that share an input after the earlier groups of its block are pruned",
    )
    .addOption(
      new Option(
        "--target <source>",
        "what the outputs of a layer should be: dense moves its weights towards the outputs of the dense model by --target-step before " +
          "it is pruned, which takes twice the memory for hidden states; none keeps them near the outputs of its own weights",
      )
        .choices(TARGET_SOURCES)
        .default("none"),
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
      "--text <text>",
      `a text to measure the perplexity on, before and after pruning: ${TEXT_VALUES}; may be repeated`,
      appendValue,
      [],
    )
    .option(
      "--windows <n>",
      "measure only the first n windows of each --text (default: all complete windows)",
      integer(1),
    )
    .addOption(
      new Option(
        "--format <format>",
        `dense, which every program reads; or ${PACK_QUANTIZED}, which needs --bits 4 or 8, and which transformers 5 loads by ` +
          "plain from_pretrained with --symmetric, and otherwise with CompressedTensorsConfig(dequantize=True)",
      )
        .choices(WEIGHT_FORMATS)
        .default("dense"),
    )
    .addOption(
      new Option(
        "--for <format>",
        `round to the grid of this type of GGUF, and also write ${GGUF_FILE}, which llama.cpp loads; sets --bits, --group-size, ` +
          "--symmetric, --scale-dtype and --format",
      ).choices(RUNTIME_FORMATS),
    )
    .option("--overwrite", "replace a checkpoint in the output folder")
    .option("--restart", "discard the unfinished run in the output folder and start over")
    .option(
      "--plan",
      "print the time, memory, disk space and traffic that the run needs, from a short measurement, and prune nothing",
    );
  addSeqlenOption(command, 1);
  addChoiceOptions(command);
  addExample(
    command,
    "prune hf:facebook/opt-125m --out pruned --calibration c4.txt --sparsity 0.5 --text wikitext.txt",
    "prune hf:facebook/opt-125m --out pruned --protocol sparsegpt --sparsity 0.5",
    "prune ./llama --out pruned --calibration c4.jsonl --pattern 2:4 --server http://gpu-1:8000",
    "prune ./llama --out rounded --calibration c4.jsonl --sparsity 0 --for gguf:q4_0",
  );
  return addCommonOptions(
    addBackendOption(addHostPoolOptions(addLayerOptions(command, DEFAULT_MODEL_METHOD))),
  );
}

/** Values of options, by the names under which commander stores them. */
type OptionValues = Readonly<Record<string, OptionValue | boolean | undefined>>;

/**
 * Returns the values that an option such as `--protocol` sets, or the equal values that are given.
 * @param source the option with its value, for messages
 * @throws {UsageError} if a given value differs
 */
function presetValues(flags: PruneFlags, command: Command, source: string, values: OptionValues): OptionValues {
  return Object.fromEntries(
    Object.entries(values).map(([name, wanted]) => {
      const given = flags[name as keyof PruneFlags] as OptionValue | undefined;
      const isGiven = given !== undefined && command.getOptionValueSource(name) !== "default";
      if (isGiven && !isSame(given, wanted as OptionValue)) {
        const rule = wanted === undefined ? "leaves it out" : `sets it to ${wanted}`;
        const option = name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
        throw new UsageError(`option --${option} ${given}: ${source} ${rule}`);
      }
      return [name, isGiven ? given : wanted];
    }),
  );
}

/** The options that a protocol sets, and the text that it adds to `--text`. */
interface Protocol {
  readonly options: Pick<
    PruneOptions,
    "method" | "calibration" | "samples" | "seqlen" | "seed" | "validation" | "windows" | "tokenWeights"
  >;
  readonly text: TextName;
}

const PROTOCOLS: Readonly<Record<ProtocolName, Protocol>> = {
  sparsegpt: {
    options: {
      method: "sparsegpt",
      calibration: ["c4"],
      samples: 128,
      seqlen: 2048,
      seed: NAMED_SEED,
      validation: 0,
      tokenWeights: "none",
      windows: undefined,
    },
    text: "wikitext2",
  },
};

/**
 * Returns the options of the run. `--for` and a protocol set the options that the command line does not give. The file of a named text may
 * be given, as in `--calibration c4=FILE`.
 * @throws {UsageError} if an option contradicts `--for` or the protocol, or if there is neither a protocol nor a calibration text
 */
export function applyPresets(given: PruneFlags, command: Command): PruneOptions {
  const runtime = given.for;
  const flags = runtime === undefined
    ? given
    : { ...given, ...presetValues(given, command, `--for ${runtime}`, optionsForRuntime(runtime)) };
  if (flags.protocol === undefined) {
    const { calibration } = flags;
    if (calibration === undefined) {
      throw new UsageError("required option '--calibration <text>' not specified");
    }
    return { ...flags, calibration };
  }
  const { options, text } = PROTOCOLS[flags.protocol];
  const set = presetValues(flags, command, `--protocol ${flags.protocol}`, options);
  const hasText = flags.text.some((value) => isSame(value, text));
  return { ...flags, ...set as Protocol["options"], text: hasText ? flags.text : [text, ...flags.text] };
}

/** A value of an option that a protocol sets. */
type OptionValue = string | number | readonly string[];

/** Whether a given value is the one of the protocol, or a file of the named text of the protocol. Lists are compared value by value. */
function isSame(given: OptionValue, wanted: OptionValue | undefined): boolean {
  if (typeof given === "object" && typeof wanted === "object") {
    return given.length === wanted.length && given.every((value, i) => isSame(value, wanted[i]));
  }
  return given === wanted || (typeof given === "string" && parseTextReference(given).name === wanted);
}
