/** The format of `pare.json`, the report of a run, which stands in the folder of the pruned model. */

import { z } from "zod";
import { reportSchema } from "../../protocol/resources/layers.ts";
import { RUN_OPTIONS } from "../../protocol/run/options.ts";
import { SHRINK_REPORT_OPTIONS, type ShrinkFields } from "../../protocol/run/run_options.ts";
import { runSecondsSchema } from "./run_seconds.ts";

const perplexitySchema = z.object({
  text: z.string(),
  seqlen: z.int(),
  windows: z.int(),
  /** The perplexity of the dense model. Null if it was not measured, or if it is not finite. */
  dense: z.number().nullable(),
  /** The perplexity of the pruned model. Null if it is not finite, because JSON has no such numbers. */
  pruned: z.number().nullable(),
  /** `ComparedPerplexity.divergence` of the pruned model from the dense one. Absent in reports of earlier versions. */
  divergence: z.number().nullable().optional(),
});

/** One pruned layer: the report of the solver, and the layer's place in the model. */
const layerRunSchema = reportSchema.extend({
  /** The name of the weight in the checkpoint. */
  name: z.string(),
  /** The index of the transformer block, from 0. */
  block: z.int().min(0),
  /** The seconds of calibration between the previous layer and this one. */
  calibration_seconds: z.number().min(0).optional(),
  /** The number of calibration tokens that reached the layer. Absent if all tokens did. */
  tokens: z.int().min(0).optional(),
});

/** The reconstruction of a block: its kept weights, its biases and its norms were trained. */
export const reconstructionSchema = z.object({
  epochs: z.int().min(1),
  /**
   * The error of the output of the block before and after: the mean over all tokens of ‖Δy‖²/‖y‖² on the held-out windows, or on the
   * fitted ones without held-out windows. y is the output of the dense block on the inputs of the pruned block, or with the target `dense`
   * on those of the dense model. Null if an error is not finite.
   */
  before: z.number().min(0).nullable(),
  after: z.number().min(0).nullable(),
  /** The epoch with the least error, whose parameters the block has. With 0, it has those from before the reconstruction. */
  kept_epoch: z.int().min(0),
});

/**
 * The decision about the targets of the layers of a block. The errors are those of the output of the block on the held-out windows, with
 * targets and without: the mean over all tokens of ‖Δy‖²/‖y‖², where y is the output of the block in the dense model. Null if an error is
 * not finite.
 */
export const targetDecisionSchema = z.object({
  /** Whether the layers have moved towards their targets. */
  kept: z.boolean(),
  error_with: z.number().min(0).nullable(),
  error_without: z.number().min(0).nullable(),
});

const blockRunSchema = z.object({
  /** The index of the transformer block, from 0. */
  block: z.int().min(0),
  /**
   * The error of the output of the block on the held-out windows: the mean over all tokens of ‖Δy‖²/‖y‖², where y is the output of the
   * dense block on the inputs of the pruned block. Null if the error is not finite. Absent without held-out windows.
   */
  error: z.number().min(0).nullable().optional(),
  /** Absent if the run had no targets or no held-out windows. */
  targets: targetDecisionSchema.optional(),
  /** Absent if the block was not reconstructed. */
  reconstruction: reconstructionSchema.optional(),
});

/** The sparsities that an allocation has chosen. */
export const allocationSchema = z.object({
  name: z.enum(["owl", "error"]),
  /** The chosen sparsity of each layer, by the name of the weight. */
  sparsities: z.record(z.string(), z.number().min(0).lt(1)),
  /** The measurements behind the choice, as sentences. */
  notes: z.array(z.string()),
});

/** Sizes before and after. */
const sizesSchema = z.object({ dense: z.int(), shrunk: z.int() });

/** The parts that `pare shrink` has removed from a model. */
export const removalSchema = z.object({
  /** The options that chose what was removed, and how the rest was trained. */
  options: z.object({
    ffn: z.number(),
    heads: z.number(),
    experts: z.number(),
    multiple: z.int(),
    blocks: z.int(),
    ...Object.fromEntries(
      SHRINK_REPORT_OPTIONS.map((name) => [name, RUN_OPTIONS[name].schema]),
    ) as ShrinkFields,
  }),
  /** The blocks of the dense model that were dropped. */
  dropped_blocks: z.array(z.int()),
  /** The numbers of units in each block, for the kinds that lost some. */
  neurons: sizesSchema.optional(),
  heads: sizesSchema.optional(),
  experts: sizesSchema.optional(),
  /** The numbers of elements of all tensors. */
  parameters: sizesSchema,
  /** The sizes of the weight files of the dense model and of the smaller one. */
  bytes: z.object({ dense: z.int(), written: z.int() }),
  /** The perplexities of the dense model and of the smaller one. */
  perplexity: z.array(perplexitySchema),
});

/** The report of a whole run. Times are in seconds and sizes in bytes. */
export const runReportSchema = z.object({
  version: z.string(),
  /** The time at which the run finished, in ISO 8601. */
  finished: z.string(),
  model: z.object({ name: z.string(), model_type: z.string(), blocks: z.int(), hidden_size: z.int() }),
  /** The requested layer parameters, under their names in the HTTP API, and the choice of layers. */
  parameters: z.record(z.string(), z.unknown()),
  calibration: z.object({
    text: z.string(),
    /** The digests of the texts, with their names if they are named texts. Absent if an earlier version or the Python package pruned the model. */
    digest: z.string().optional(),
    /** The number of windows, with those that are held out. */
    samples: z.int(),
    /** The number of windows that are held out. Absent if an earlier version or the Python package pruned the model. */
    validation_samples: z.int().optional(),
    seqlen: z.int(),
    /** The seed of the random windows. Null if the windows are evenly spaced. */
    seed: z.int().nullable(),
  }),
  backend: z.string(),
  adapter: z.string(),
  /** The number of times that the run was resumed after an interruption. */
  resumed: z.int().min(0),
  seconds: runSecondsSchema,
  layers: z.array(layerRunSchema),
  /** The pruned blocks. Absent without held-out windows and reconstructions. */
  blocks: z.array(blockRunSchema).optional(),
  /** The names of the weights that the choice of layers excluded from pruning. */
  skipped: z.array(z.string()),
  /** The name of the format of the weight files, such as `dense`. */
  format: z.string(),
  /** The sizes of the weight files in dense format, and as they were written. */
  bytes: z.object({ dense: z.int(), written: z.int() }),
  perplexity: z.array(perplexitySchema),
  /** The parts that the same command had removed from a larger model before. The other members describe the smaller model. */
  shrunk: removalSchema.optional(),
  /** The warnings about the calibration. Absent if there are none. */
  warnings: z.array(z.string()).optional(),
  /** How the zeros were spread over the layers. Absent if the parameters of each layer set its sparsity. */
  allocation: allocationSchema.optional(),
  /**
   * The command line that repeats the run, with the names of its files without their folders, and without keys and servers. Absent if the
   * Python package pruned the model.
   */
  command: z.string().optional(),
  /**
   * Everything on which the bytes of the pruned folder depend, except the device: names for the user with short texts. The same command
   * recognises its finished run by it. Absent if another command has changed the folder since then.
   */
  fingerprint: z.record(z.string(), z.string()).optional(),
});

export type Reconstruction = z.infer<typeof reconstructionSchema>;
export type BlockRun = z.infer<typeof blockRunSchema>;
export type LayerRun = z.infer<typeof layerRunSchema>;
export type RunReport = z.infer<typeof runReportSchema>;
