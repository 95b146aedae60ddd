/**
 * Names that stand for several options of `pare prune`. A preset trades time for quality, and every option on the
 * command line overrides it. A protocol repeats a published experiment, and `--for` makes weights that fit a format, so
 * an option that contradicts one of these two is refused.
 */

import type { Command } from "commander";
import { NAMED_SEED } from "../../prune/read_calibration.ts";
import { parseTextReference, type TextName } from "../../prune/texts/named_texts.ts";
import type { RunOptions } from "../../protocol/run/options.ts";
import { optionFlag, presetValues } from "../../protocol/run/run_options.ts";
import { UsageError } from "../errors.ts";
import type { LayerFlags } from "../options/layer_options.ts";
import { type FormatName, FORMATS } from "../export/formats.ts";

/** The names, and the options that presets and protocols set, as commander parses them. */
export interface NamedOptions extends Pick<LayerFlags, "method" | "effort" | "tokenWeights">, RunOptions {
  readonly text: readonly string[];
  readonly calibration: readonly string[];
  readonly preset: PresetName;
  readonly protocol?: ProtocolName;
  readonly for?: FormatName;
}

/** Options that a preset sets together: if the command line gives one of them, the preset sets none of them. */
type OptionGroup = Partial<Pick<NamedOptions, "method" | "effort"> & RunOptions>;

export const PRESETS = {
  fast: [{ method: "sparsegpt" }, ...presetValues("fast")],
  default: [],
  best: [{ method: "alps", effort: "best" }, ...presetValues("best")],
} as const satisfies Readonly<Record<string, readonly OptionGroup[]>>;

export type PresetName = keyof typeof PRESETS;

/** Returns all options that a preset can set. */
export function presetOptions(preset: PresetName): OptionGroup {
  return Object.assign({}, ...PRESETS[preset]);
}

/** Returns what a message about an option adds if the preset sets the option, or "" if it does not. */
export function presetHint(preset: PresetName, option: string): string {
  return option in presetOptions(preset) ? ` (--preset ${preset} sets it, and --${option} overrides it)` : "";
}

/** Returns the options of a preset or of a protocol as they are written on the command line. */
function listOptions(options: Readonly<Record<string, unknown>>): string {
  return Object.entries(options).map(([name, value]) => `${optionFlag(name)} ${value}`).join(", ");
}

/** Returns the help text of `--preset`. */
export function presetHelp(): string {
  const lines = (Object.keys(PRESETS) as PresetName[]).map((name) =>
    `${name} sets ${listOptions(presetOptions(name)) || "nothing"}`
  );
  return `trade time for quality by one word, which other options override: ${lines.join("; ")}`;
}

/** The options that a protocol sets, and the text that it adds to `--text`. */
interface Protocol {
  readonly options:
    & Pick<NamedOptions, "method" | "samples" | "seqlen" | "seed" | "validation" | "windows" | "tokenWeights">
    & Pick<NamedOptions, "calibration">;
  readonly text: TextName;
}

const PROTOCOLS = {
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
} as const satisfies Readonly<Record<string, Protocol>>;

export type ProtocolName = keyof typeof PROTOCOLS;

export const PROTOCOL_NAMES = Object.keys(PROTOCOLS) as ProtocolName[];

/**
 * Returns the options of the run, with those that the names set.
 * @throws {UsageError} if there is a preset beside a protocol, or if an option contradicts a name
 */
export function applyNames<Flags extends NamedOptions>(given: Flags, command: Command): Flags {
  const { preset, protocol, for: runtime } = given;
  const isGiven = (name: string) =>
    command.getOptionValueSource(name) !== "default" && command.getOptionValue(name) !== undefined;
  const flags = runtime === undefined
    ? given
    : { ...given, ...fixedValues(given, isGiven, `--for ${runtime}`, FORMATS[runtime].options!) };
  if (protocol !== undefined) {
    if (isGiven("preset")) {
      throw new UsageError(`option --preset ${preset}: --protocol ${protocol} sets the same options`);
    }
    const { options, text }: Protocol = PROTOCOLS[protocol];
    const allowed = Object.entries(options).map(([name, value]) => [name, [value]] as const);
    const set = fixedValues(given, isGiven, `--protocol ${protocol}`, Object.fromEntries(allowed));
    const hasText = flags.text.some((value) => isSame(value, text));
    return { ...flags, ...set as Protocol["options"], text: hasText ? flags.text : [text, ...flags.text] };
  }
  const groups: readonly OptionGroup[] = PRESETS[preset];
  return Object.assign({}, flags, ...groups.filter((group) => !Object.keys(group).some(isGiven)));
}

/**
 * Returns the values that a name sets: of each option the given value, if the name allows it, and otherwise the first value that it
 * allows. The file of a named text may be given, as in `--calibration c4=FILE`.
 * @param source the option with its value, for messages
 * @param allowed the allowed values by option. `undefined` stands for an option that is left out
 * @throws {UsageError} if a given value is none of those that the name allows
 */
function fixedValues(
  flags: NamedOptions,
  isGiven: (option: string) => boolean,
  source: string,
  allowed: Readonly<Record<string, readonly (OptionValue | undefined)[]>>,
): Readonly<Record<string, OptionValue | undefined>> {
  const entries = Object.entries(allowed).map(([name, values]) => {
    if (!isGiven(name)) return [name, values[0]];
    const given = flags[name as keyof NamedOptions]!;
    if (values.some((wanted) => isSame(given, wanted))) return [name, given];
    const rule = values[0] === undefined ? "leaves it out" : `sets it to ${values.join(" or ")}`;
    throw new UsageError(`option ${optionFlag(name)} ${given}: ${source} ${rule}`);
  });
  return Object.fromEntries(entries);
}

/** A value of an option that a name sets. */
type OptionValue = string | number | boolean | readonly string[];

/** Whether a given value is the wanted one, or a file of its named text. Lists are compared value by value. */
function isSame(given: OptionValue, wanted: OptionValue | undefined): boolean {
  if (typeof given === "object" && typeof wanted === "object") {
    return given.length === wanted.length && given.every((value, i) => isSame(value, wanted[i]));
  }
  return given === wanted || (typeof given === "string" && parseTextReference(given).name === wanted);
}
