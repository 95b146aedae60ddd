/**
 * Declares each option of a run, which prunes a whole model, once. The command line, the plan, the fingerprint, `pare.json`, the parameters
 * of `POST /v1/blocks/prune` and the types of both SDKs follow from this table.
 */

import { z } from "zod";
import type { LayerQuery } from "../layer_query.ts";
import { MAX_EPOCHS } from "../limits.ts";
import { flag, integer, oneOf } from "../parameters.ts";
import { numeric } from "../resources/fields.ts";

/** The declaration of an option. */
export interface RunOption {
  /** Accepts the value and its text, and has the default of the option. */
  readonly schema: z.ZodType;
  /** The help text, without the choices. */
  readonly help: string;
  /** The placeholder of the value in help texts. A flag has no value. */
  readonly value?: string;
  /**
   * `report`: the fingerprint of a run and `pare.json` have the option, unless it is the default. `fingerprint`: only the fingerprint has
   * it. Otherwise no byte of the result depends on the option.
   */
  readonly record?: "report" | "fingerprint";
  /** The description of the parameter of `POST /v1/blocks/prune`, if the option is one. */
  readonly block?: string;
  /** Whether few users need the option. `pare prune --help` leaves it out, and other help texts list it last. */
  readonly advanced?: true;
  /** Whether `pare shrink` has the option too. */
  readonly shrink?: true;
  /** The value that a preset of the command line sets, by the name of the preset. */
  readonly presets?: Readonly<Record<string, unknown>>;
  /** The options with which it does not work. */
  readonly conflicts?: readonly Conflict[];
  /** Returns the end of a message if the option does not work with the layers of a run. */
  readonly layerRule?: (run: PrunedLayers) => string | undefined;
}

/** The layers of a run, for the rules of options. */
export interface PrunedLayers {
  /** The parameters of the layers that are pruned. */
  readonly queries: readonly LayerQuery[];
  readonly target?: "dense" | "none";
  /** Whether the model is a mixture of experts. */
  readonly hasExperts: boolean;
}

interface Conflict {
  readonly with: string;
  /** The value of the other option that does not work. By default, every value but the default of the option does not. */
  readonly value?: string;
  /** Returns the end of the message. @param other the other option with its value */
  rule(other: string): string;
}

/** The largest share of the windows that `validation` may hold out. */
const MAX_VALIDATION = 0.5;

const SHARE_RULE = `must be a number from 0 to ${MAX_VALIDATION}`;

/** Accepts integers from `least`. */
function count(least: number) {
  const rule = `must be an integer of ${least} or more`;
  return numeric(z.int(rule).min(least, rule));
}

const patterns = z.array(z.string());

const needsExperts = ({ hasExperts }: PrunedLayers) =>
  hasExperts ? undefined : "needs a mixture of experts, and the model has no experts";

/** The options of the calibration, the solves and the training of a block, which `PruneJob` has as members. */
const BLOCK_OPTIONS = {
  trueSequential: {
    schema: flag.default(false),
    help:
      "calibrate each group of layers that share an input after the earlier groups of its block are pruned",
    record: "report",
    advanced: true,
    block:
      "Whether layers that share an input are calibrated after the earlier layers of the block are pruned",
  },
  allExperts: {
    schema: flag.default(false),
    help:
      "run every calibration token through every expert of a mixture for the statistics, not only through those that the router chooses",
    record: "report",
    advanced: true,
    layerRule: needsExperts,
    conflicts: [{
      with: "target",
      rule: (target) =>
        `does not work with ${target}, which would keep a copy of the inputs of all tokens for every expert`,
    }],
  },
  expertsAtOnce: {
    schema: count(1).optional(),
    help:
      "load and calibrate the experts of a block in parts of this many, so that a block needs the memory of a few experts; " +
      "the result does not change, but each part takes a pass through the block's attention",
    value: "<count>",
    advanced: true,
    layerRule: needsExperts,
    conflicts: [
      {
        with: "target",
        rule: (target) => `does not work with ${target}, which solves all layers of a block together`,
      },
      {
        with: "reconstruct",
        rule: (epochs) => `does not work with ${epochs}, which trains all layers of a block together`,
      },
    ],
  },
  target: {
    schema: oneOf("dense", "none").default("none"),
    help:
      "what the outputs of a layer should be: dense moves its weights towards the outputs of the dense model by --target-step before " +
      "it is pruned (auto if windows are held out), which takes twice the memory for hidden states; none keeps them near the outputs of its own weights",
    value: "<source>",
    record: "report",
    advanced: true,
    shrink: true,
    presets: { best: "dense" },
    conflicts: [{
      with: "activations",
      value: "disk",
      rule: (place) =>
        `keeps the hidden states of the dense model in memory, so it does not work with ${place}`,
    }],
  },
  reconstruct: {
    schema: integer(0, MAX_EPOCHS).default(0),
    help:
      "train the kept weights, the biases and the norms of each pruned block for this number of epochs, so that its output comes " +
      "near to the output of the dense block, and before its layers are rounded",
    value: "<epochs>",
    record: "report",
    advanced: true,
    shrink: true,
    presets: { best: 5 },
    layerRule: ({ queries, target }) =>
      target === "none" && queries.every(({ sparsity }) => sparsity === 0)
        ? "trains blocks before they are rounded, so without zeros it needs --target dense, or a --sparsity above 0"
        : undefined,
    block:
      "The number of epochs in which the pruned block is trained, so that its output comes near to the output of the dense block",
    conflicts: [{
      with: "activations",
      value: "disk",
      rule: (place) => `keeps the outputs of the dense blocks in memory, so it does not work with ${place}`,
    }],
  },
  activations: {
    schema: oneOf("auto", "memory", "disk").default("auto"),
    help:
      "where the hidden states between blocks are stored; auto uses the disk if they take more than 4 GiB",
    value: "<place>",
    advanced: true,
  },
} as const satisfies Readonly<Record<string, RunOption>>;

/** All options. Help texts, fingerprints and reports have them in this order. */
export const RUN_OPTIONS = {
  samples: {
    schema: count(1).default(128), // as in the code of SparseGPT's authors
    help: "number of windows to calibrate on, which are pieces of the text",
    value: "<n>",
    record: "fingerprint",
    shrink: true,
  },
  validation: {
    schema: numeric(z.number(SHARE_RULE).min(0, SHARE_RULE).max(MAX_VALIDATION, SHARE_RULE)).default(1 / 8),
    help:
      "share of the windows that are held out: they compare results and are never fitted; 0 fits all windows",
    value: "<share>",
    record: "fingerprint",
    advanced: true,
    shrink: true,
    presets: { fast: 0 },
  },
  seqlen: {
    schema: count(1).optional(),
    help:
      "tokens per window (default: the number of positions of the model, at most 2048, or 512 with the text that comes with Pare)",
    value: "<n>",
    record: "fingerprint",
    advanced: true,
    shrink: true,
  },
  seed: {
    schema: integer(0, 2 ** 32 - 1).optional(),
    help:
      "choose the calibration windows at random with this seed (default: evenly spaced, and 0 for a named text)",
    value: "<n>",
    record: "fingerprint",
    advanced: true,
    shrink: true,
  },
  layers: {
    schema: patterns.optional(),
    help: "prune only these layers: comma-separated names or ends of names (fc2), globs (*.3.fc?) or " +
      "/regular expressions/; may be repeated",
    value: "<patterns>",
    record: "report",
    advanced: true,
  },
  skip: {
    schema: patterns.optional(),
    help: "do not prune these layers; same forms as --layers",
    value: "<patterns>",
    record: "report",
    advanced: true,
  },
  minLayer: {
    schema: count(0).optional(),
    help: "prune only this transformer block and later ones; blocks are counted from 0",
    value: "<block>",
    record: "report",
    advanced: true,
  },
  maxLayer: {
    schema: count(0).optional(),
    help: "prune only transformer blocks before this one",
    value: "<block>",
    record: "report",
    advanced: true,
  },
  profile: {
    schema: z.string().optional(),
    help: "JSON file with other parameters for some layers; later rules override earlier ones: " +
      '[{ "match": "fc2", "sparsity": 0.3 }, { "match": "*.0.*", "skip": true }]',
    value: "<file>",
    record: "report",
    advanced: true,
  },
  allocate: {
    schema: oneOf("uniform", "owl", "error").default("uniform"),
    help:
      "how the zeros are spread over the layers: uniform gives all layers the same sparsity, owl gives blocks with " +
      "many outliers a lower sparsity, error minimises the mean relative error of the layers; the total stays exact",
    value: "<how>",
    record: "report",
    advanced: true,
  },
  ...BLOCK_OPTIONS,
  format: {
    schema: oneOf("dense", "pack-quantized", "gptq", "mlx").default("dense"),
    help:
      "dense, which every program reads; or pack-quantized or mlx, which need --bits, or gptq, which needs --bits 4 or 8; without --group-size, their grids are " +
      "symmetric and for groups of 32 inputs, which plain from_pretrained of transformers 5 loads",
    value: "<format>",
    record: "fingerprint",
    advanced: true,
    block:
      "The layout in which rounded weights will be stored. The states run through the weights that it stands for",
  },
  windows: {
    schema: count(1).optional(),
    help: "measure only the first n windows of each --text (default: all complete windows)",
    value: "<n>",
    record: "fingerprint",
    advanced: true,
    shrink: true,
  },
  overwrite: {
    schema: flag.default(false),
    help: "replace the result of an earlier command",
    shrink: true,
  },
  restart: {
    schema: flag.default(false),
    help: "discard the unfinished run in the output folder and start over",
    advanced: true,
    shrink: true,
  },
  plan: {
    schema: flag.default(false),
    help:
      "print the files, time, memory, disk space and traffic that the run needs, from a short measurement, and write nothing",
    shrink: true,
  },
  remote: {
    schema: flag.default(false),
    help:
      "have the hosts of --server, or a job of this edge, run and prune whole blocks, so that this machine only reads and writes the files",
    advanced: true,
    conflicts: [
      { with: "plan", rule: (plan) => `does not work with ${plan}, which measures this machine` },
      {
        with: "allocate",
        rule: (how) => `does not work with ${how}, which runs the model on this machine`,
      },
      {
        with: "activations",
        rule: (place) => `keeps the hidden states at the host, so it does not work with ${place}`,
      },
      ...["expertsAtOnce", "allExperts"].map((name) => ({
        with: name,
        rule: (option: string) => `sends whole blocks, so it does not work with ${option}`,
      })),
    ],
  },
} as const satisfies Readonly<Record<string, RunOption>>;

type Values<Options extends Readonly<Record<string, RunOption>>> = {
  readonly [Name in keyof Options]: z.output<Options[Name]["schema"]>;
};

/** The values of all options, by their names in TypeScript. */
export type RunOptions = Values<typeof RUN_OPTIONS>;

/** The values of the options that decide how a block is calibrated, solved and trained. */
export type BlockOptions = Values<typeof BLOCK_OPTIONS>;

export type RunOptionName = keyof RunOptions;
