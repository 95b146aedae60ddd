/** Adds the options of a run, which `protocol/run/options.ts` declares, to commands. */

import { type Command, InvalidArgumentError, Option } from "commander";
import { z } from "zod";
import type { RunOptionName } from "../../protocol/run/options.ts";
import { optionFlag, runOption } from "../../protocol/run/run_options.ts";
import { collectPatterns } from "./common_options.ts";
import { ADVANCED } from "./help.ts";

/** Declares the options of these names on `command`. */
export function addRunOptions(command: Command, ...names: readonly RunOptionName[]): Command {
  for (const name of names) command.addOption(commandOption(name));
  return command;
}

/** Returns an option with the values and the default of its schema. */
function commandOption(name: RunOptionName): Option {
  const { schema, help, value, advanced } = runOption(name);
  const { type, enum: choices, default: preset } = z.toJSONSchema(schema, { io: "output" });
  const option = new Option([optionFlag(name), value ?? ""].join(" ").trim(), help);
  if (advanced) option.helpGroup(ADVANCED);
  if (preset !== undefined) option.default(preset);
  if (choices) return option.choices(choices.map(String));
  if (type === "array") return option.argParser(collectPatterns);
  if (value === undefined) return option;
  return option.argParser((text) => {
    const { data, error } = schema.safeParse(text);
    if (error) throw new InvalidArgumentError(`It ${error.issues[0].message}.`);
    return data;
  });
}
