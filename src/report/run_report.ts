/** `pare.json`: what a run did to a checkpoint, written into the pruned folder and drawn by `report.html`. */

import { z } from "zod";
import { reportSchema } from "../protocol/report.ts";

/** The file's name in the pruned folder. */
export const RUN_REPORT_FILE = "pare.json";
/** The name of the page drawn from it. */
export const REPORT_PAGE_FILE = "report.html";

const perplexitySchema = z.object({
  /** The text's file name. */
  text: z.string(),
  seqlen: z.int(),
  windows: z.int(),
  /** Null where it was not measured, or is not finite. */
  dense: z.number().nullable(),
  /** Null where it is not finite: JSON has no such numbers. */
  pruned: z.number().nullable(),
});

/** One pruned layer. */
export const layerRunSchema = reportSchema.extend({
  /** The weight's name in the checkpoint. */
  name: z.string(),
  /** The transformer block, from 0. */
  block: z.int().min(0),
  /** Seconds of calibration between the layer before it and this one. */
  calibration_seconds: z.number().min(0).optional(),
});

/** A run, whole. Times in seconds, sizes in bytes. */
export const runReportSchema = z.object({
  /** Of Pare. */
  version: z.string(),
  /** ISO 8601. */
  finished: z.string(),
  model: z.object({ name: z.string(), model_type: z.string(), blocks: z.int(), hidden_size: z.int() }),
  /** The layer parameters asked for, by the HTTP contract's names, and the choice of layers. */
  parameters: z.record(z.string(), z.unknown()),
  calibration: z.object({
    text: z.string(),
    samples: z.int(),
    seqlen: z.int(),
    seed: z.int().nullable(),
  }),
  backend: z.string(),
  adapter: z.string(),
  /** How often the run was killed and taken up again. */
  resumed: z.int().min(0),
  seconds: z.object({ calibration: z.number(), layers: z.number(), total: z.number() }),
  layers: z.array(layerRunSchema),
  /** Weights left dense by choice. */
  skipped: z.array(z.string()),
  format: z.enum(["dense", "bitmask", "sparse-24"]),
  bytes: z.object({ dense: z.int(), written: z.int() }),
  perplexity: z.array(perplexitySchema),
});

/** One pruned layer of a run. */
export type LayerRun = z.infer<typeof layerRunSchema>;
/** A run, whole. */
export type RunReport = z.infer<typeof runReportSchema>;
