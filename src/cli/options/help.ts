/** Shapes the help texts of all commands: which options are required, and an example per command. */

import { type Command, Help, type Option } from "commander";

/** Adds an example to the end of the help text of `command`. @param lines the command lines, each without the word `pare` */
export function addExample(command: Command, ...lines: readonly string[]): Command {
  const title = lines.length === 1 ? "Example" : "Examples";
  return command.addHelpText("after", `\n${title}:\n${lines.map((line) => `  pare ${line}`).join("\n")}`);
}

/**
 * Completes the help texts of `command` and all its subcommands, when all options are declared. Required
 * options are part of the usage line and are marked in the list. Errors are thrown and do not end the process.
 */
export function finishHelp(command: Command): void {
  command.exitOverride();
  command.configureHelp({ optionDescription });
  const required = command.options.filter(({ mandatory }) => mandatory).map(({ flags }) => flags);
  const positional = command.registeredArguments.map((argument) => `<${argument.name()}>`); // all are required
  if (command.commands.length === 0) command.usage([...positional, ...required, "[options]"].join(" "));
  for (const child of command.commands) finishHelp(child);
}

/** Describes an option. Required options are marked, and an empty list or false as the default is left out. */
function optionDescription(this: Help, option: Option): string {
  const isEmptyList = Array.isArray(option.defaultValue) && option.defaultValue.length === 0;
  const shown = isEmptyList || option.defaultValue === false
    ? Object.create(option, { defaultValue: { value: undefined } }) as Option
    : option;
  const text = Help.prototype.optionDescription.call(this, shown);
  return option.mandatory ? `required: ${text}` : text;
}
