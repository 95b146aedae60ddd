/** The option `--seqlen`, the length of the windows into which a text is cut. */

import type { Command } from "commander";
import type { Model } from "../../models/model.ts";
import { integer } from "./numbers.ts";

/** The window length in the authors' code. Longer windows cost more and change the results little. */
const MAX_DEFAULT_SEQLEN = 2048;

/** Declares `--seqlen`, an integer of `least` or more. */
export function addSeqlenOption(command: Command, least: number): Command {
  return command.option(
    "--seqlen <n>",
    `tokens per window (default: the number of positions of the model, at most ${MAX_DEFAULT_SEQLEN})`,
    integer(least),
  );
}

/** Returns the tokens per window: the given number, or the default for the model. */
export function windowTokens(model: Model, seqlen?: number): number {
  return seqlen ?? Math.min(model.spec.maxTokens, MAX_DEFAULT_SEQLEN);
}
