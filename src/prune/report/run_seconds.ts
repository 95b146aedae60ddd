/** The time that a run took, divided into phases. */

import { z } from "zod";
import { secondsText } from "./format.ts";

const phaseSchema = z.number().min(0).default(0);

/** The seconds of all processes that worked on a run. Work that was lost because a process was killed is not counted. */
export const runSecondsSchema = z.object({
  /** Starting the processes, reading the model and the texts, and opening the device. */
  load: phaseSchema,
  /** Choosing the sparsity of each layer. */
  allocation: phaseSchema,
  /** Computing calibration statistics. */
  calibration: phaseSchema,
  /** Solving the layers and writing their weights. */
  layers: phaseSchema,
  /** Training the kept weights of each block. */
  reconstruction: phaseSchema,
  /** Copying everything that was not pruned, and packing. */
  write: phaseSchema,
  /** Measuring perplexities. */
  evaluation: phaseSchema,
  /** The sum of the phases. */
  total: z.number().min(0),
});

export type RunSeconds = z.infer<typeof runSecondsSchema>;

/** The seconds of the phases without their sum. */
export type PhaseSeconds = Omit<RunSeconds, "total">;

export function withTotal(phases: PhaseSeconds): RunSeconds {
  return { ...phases, total: Object.values(phases).reduce((sum, seconds) => sum + seconds, 0) };
}

/** Lists the phases that took time: `load 0.41 s, calibration 3.20 s, layers 2.05 s`. */
export function phasesText({ total: _, ...phases }: RunSeconds): string {
  const taken = Object.entries(phases).filter(([, seconds]) => seconds > 0);
  return taken.map(([phase, seconds]) => `${phase} ${secondsText(seconds)}`).join(", ");
}
