/**
 * The options that stand for the setting of published experiments. The protocol of SparseGPT calibrates on 128 windows of 2048 tokens of C4, and
 * measures the perplexity on raw WikiText2 in windows of 2048 tokens.
 */

import type { Command } from "commander";
import { NAMED_SEED } from "../../prune/read_calibration.ts";
import { parseTextReference, type TextName } from "../../prune/texts/named_texts.ts";
import { UsageError } from "../errors.ts";
import type { ProtocolName, PruneFlags, PruneOptions } from "./prune_options.ts";

/** The options that a protocol sets, and the text that it adds to `--text`. */
interface Protocol {
  readonly options: Pick<PruneOptions, "method" | "calibration" | "samples" | "seqlen" | "seed" | "windows">;
  readonly text: TextName;
}

const PROTOCOLS: Readonly<Record<ProtocolName, Protocol>> = {
  sparsegpt: {
    options: {
      method: "sparsegpt",
      calibration: "c4",
      samples: 128,
      seqlen: 2048,
      seed: NAMED_SEED,
      windows: undefined,
    },
    text: "wikitext2",
  },
};

/**
 * Returns the options of the run. A protocol sets the options that the command line does not give. The file of a named text may be given, as in
 * `--calibration c4=FILE`.
 * @throws {UsageError} if an option contradicts the protocol, or if there is neither a protocol nor a calibration text
 */
export function applyProtocol(flags: PruneFlags, command: Command): PruneOptions {
  if (flags.protocol === undefined) {
    const { calibration } = flags;
    if (calibration === undefined) {
      throw new UsageError("required option '--calibration <text>' not specified");
    }
    return { ...flags, calibration };
  }
  const { options, text } = PROTOCOLS[flags.protocol], set: Record<string, unknown> = {};
  for (const [name, wanted] of Object.entries(options)) {
    const given = flags[name as keyof typeof options];
    const isGiven = given !== undefined && command.getOptionValueSource(name) !== "default";
    if (isGiven && !isSame(given, wanted)) {
      const rule = wanted === undefined ? "leaves it out" : `sets it to ${wanted}`;
      throw new UsageError(`option --${name} ${given}: --protocol ${flags.protocol} ${rule}`);
    }
    set[name] = isGiven ? given : wanted;
  }
  const hasText = flags.text.some((value) => isSame(value, text));
  return { ...flags, ...set as Protocol["options"], text: hasText ? flags.text : [text, ...flags.text] };
}

/** Whether a given value is the one of the protocol, or a file of the named text of the protocol. */
function isSame(given: string | number, wanted: string | number | undefined): boolean {
  return given === wanted || (typeof given === "string" && parseTextReference(given).name === wanted);
}
