/**
 * Names that stand for several options of `pare prune`. A preset trades time for quality, and every option on the command line overrides
 * it. A protocol repeats a published experiment, so an option that contradicts it is refused.
 */

import type { Command } from "commander";
import { NAMED_SEED } from "../../prune/read_calibration.ts";
import { parseTextReference, type TextName } from "../../prune/texts/named_texts.ts";
import { UsageError } from "../errors.ts";
import type { LayerFlags } from "../options/layer_options.ts";
import type { TargetSource } from "../../prune/run/job.ts";

/** The options that presets and protocols set, as commander parses them. */
export interface NamedOptions extends Pick<LayerFlags, "method" | "effort" | "tokenWeights"> {
  /** Absent if a protocol stands for the texts. */
  readonly calibration?: readonly string[];
  readonly samples: number;
  readonly validation: number;
  readonly seqlen?: number;
  readonly seed?: number;
  readonly target: TargetSource;
  readonly reconstruct: number;
  readonly text: readonly string[];
  readonly windows?: number;
  readonly preset: PresetName;
  readonly protocol?: ProtocolName;
}

/** Options with the texts of the calibration. */
type Named<Options extends NamedOptions> = Options & Required<Pick<NamedOptions, "calibration">>;

/** Options that a preset sets together: if the command line gives one of them, the preset sets none of them. */
interface OptionGroup {
  readonly set: Partial<
    Pick<NamedOptions, "method" | "effort" | "validation" | "target" | "reconstruct">
  >;
  /** Options with which these ones do not work. If the command line gives one of them, the preset sets none either. */
  readonly unless?: readonly string[];
}

export const PRESETS = {
  fast: [{ set: { method: "sparsegpt" } }, { set: { validation: 0 } }],
  default: [],
  best: [
    { set: { method: "alps", effort: "best" } },
    { set: { target: "dense" }, unless: ["server", "trueSequential", "plan"] },
    { set: { reconstruct: 5 }, unless: ["bits"] },
  ],
} as const satisfies Readonly<Record<string, readonly OptionGroup[]>>;

export type PresetName = keyof typeof PRESETS;

/** Returns all options that a preset can set. */
export function presetOptions(preset: PresetName): OptionGroup["set"] {
  return Object.assign({}, ...PRESETS[preset].map(({ set }) => set));
}

/** Returns what a message about an option adds if the preset sets the option, or "" if it does not. */
export function presetHint(preset: PresetName, option: keyof OptionGroup["set"]): string {
  return option in presetOptions(preset) ? ` (--preset ${preset} sets it, and --${option} overrides it)` : "";
}

/** Returns the options of a preset or of a protocol as they are written on the command line. */
function listOptions(options: Readonly<Record<string, unknown>>): string {
  return Object.entries(options).map(([name, value]) => `${optionName(name)} ${value}`).join(", ");
}

function optionName(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** What `--preset` does, for its help text. */
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
    & Required<Pick<NamedOptions, "calibration">>;
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
 * Returns the options of the run, with those that its preset or its protocol sets.
 * @throws {UsageError} if there are both, if an option contradicts the protocol, or if there is no calibration text
 */
export function applyNames<Flags extends NamedOptions>(flags: Flags, command: Command): Named<Flags> {
  const { preset, protocol } = flags;
  const isGiven = (name: string) =>
    command.getOptionValueSource(name) !== "default" && command.getOptionValue(name) !== undefined;
  if (protocol !== undefined) {
    if (isGiven("preset")) {
      throw new UsageError(`option --preset ${preset}: --protocol ${protocol} sets the same options`);
    }
    return applyProtocol(flags, protocol, isGiven);
  }
  const groups: readonly OptionGroup[] = PRESETS[preset];
  const { calibration, ...others } = Object.assign(
    {},
    flags,
    ...groups.filter(({ set, unless = [] }) => ![...Object.keys(set), ...unless].some(isGiven))
      .map(({ set }) => set),
  );
  if (calibration === undefined) {
    throw new UsageError("required option '--calibration <text>' not specified");
  }
  return { ...others, calibration };
}

/**
 * Returns the options with those of the protocol that the command line does not give. The file of a named text may be given, as in
 * `--calibration c4=FILE`.
 * @throws {UsageError} if an option contradicts the protocol
 */
function applyProtocol<Flags extends NamedOptions>(
  flags: Flags,
  name: ProtocolName,
  isGiven: (option: string) => boolean,
): Named<Flags> {
  const { options, text }: Protocol = PROTOCOLS[name], set: Record<string, unknown> = {};
  for (const [option, wanted] of Object.entries(options)) {
    const given = flags[option as keyof typeof options];
    if (isGiven(option) && !isSame(given!, wanted)) {
      const rule = wanted === undefined ? "leaves it out" : `sets it to ${wanted}`;
      throw new UsageError(`option ${optionName(option)} ${given}: --protocol ${name} ${rule}`);
    }
    set[option] = isGiven(option) ? given : wanted;
  }
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
