/** The option for the length of the windows into which a text is cut. */

import type { Command } from "commander";
import type { Model } from "../../models/model.ts";
import { integer } from "./numbers.ts";

/** The window length of the published code. Longer windows cost much and change the results little. */
const MAX_DEFAULT_SEQLEN = 2048;

/** Declares `--seqlen`. */
export function addSeqlenOption(command: Command, least: number): Command {
  return command.option(
    "--seqlen <n>",
    `tokens per window (default: the model's positions, at most ${MAX_DEFAULT_SEQLEN})`,
    integer(least),
  );
}

/** Returns the tokens per window: the given number, or the default for the model. */
export function windowTokens(model: Model, seqlen?: number): number {
  return seqlen ?? Math.min(model.spec.maxTokens, MAX_DEFAULT_SEQLEN);
}
