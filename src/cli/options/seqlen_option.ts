/** How long the windows are that a text is cut into. */

import type { Command } from "commander";
import type { Model } from "../../models/model.ts";
import { integer } from "./numbers.ts";

/** The published code's choice; longer windows cost more than they tell. */
const MAX_DEFAULT_SEQLEN = 2048;

/** Declares `--seqlen`. */
export function addSeqlenOption(command: Command, least: number): Command {
  return command.option(
    "--seqlen <n>",
    `tokens a window (default: the model's positions, at most ${MAX_DEFAULT_SEQLEN})`,
    integer(least),
  );
}

/** Tokens a window: what was asked for, or what suits the model. */
export function windowTokens(model: Model, seqlen?: number): number {
  return seqlen ?? Math.min(model.spec.maxTokens, MAX_DEFAULT_SEQLEN);
}
