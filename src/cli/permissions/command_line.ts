/** Splits a command line into its command, arguments and options. Errors in it are left for the command itself to report. */

import { COMMANDS, SWITCHES } from "./commands.ts";

/** The parts of a command line. */
export interface CommandLine {
  /** A key of `COMMANDS`, or undefined if the command is missing or unknown. */
  readonly command: string | undefined;
  readonly positional: readonly string[];
  /** The values of each option, in order. Options without a value are left out. */
  readonly options: ReadonlyMap<string, readonly string[]>;
}

/** Splits the words after `pare`. */
export function parseCommandLine(words: readonly string[]): CommandLine {
  const positional: string[] = [], options = new Map<string, string[]>();
  const rest = [...words];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--") {
      positional.push(...rest.splice(0));
    } else if (word.startsWith("--")) {
      const [, name, joined] = /^--([^=]*)(?:=(.*))?$/s.exec(word)!;
      const value = joined ?? (SWITCHES.has(name) ? undefined : rest.shift());
      if (value !== undefined) options.set(name, [...options.get(name) ?? [], value]);
    } else if (!/^-[a-zA-Z]$/.test(word)) {
      positional.push(word);
    }
  }
  const length = [1, 2].find((count) => positional.slice(0, count).join(" ") in COMMANDS);
  const command = length && positional.splice(0, length).join(" ");
  return { command: command || undefined, positional, options };
}
