/** Shapes the help texts of all commands: which options are shown and which are required, and an example per command. */

import { type Command, Help, Option } from "commander";

/** The group of the options that few users need. */
export const ADVANCED = "Advanced options:";

/** Adds an example to the end of the help text of `command`. @param lines the command lines, each without the word `pare` */
export function addExample(command: Command, ...lines: readonly string[]): Command {
  const title = lines.length === 1 ? "Example" : "Examples";
  return command.addHelpText("after", `\n${title}:\n${lines.map((line) => `  pare ${line}`).join("\n")}`);
}

/**
 * Lets `--help` show only the options of these groups, in this order. `--help-all` shows all options.
 * @param groups the names of options, such as `helpAll`, by the title of their group
 */
export function shortenHelp(command: Command, groups: Readonly<Record<string, readonly string[]>>): Command {
  const help = "Help:", shown = Object.values(groups).flat();
  for (const option of command.options) {
    const group = Object.keys(groups).find((title) => groups[title].includes(option.attributeName()));
    option.helpGroup(group ?? ADVANCED).hideHelp(group === undefined);
  }
  // The position among the shown options. All others come after them.
  const place = (option: Option) =>
    (shown.indexOf(option.attributeName()) + shown.length + 1) % (shown.length + 1);
  (command.options as Option[]).sort((a, b) => place(a) - place(b));
  return command
    .addHelpOption(new Option("-h, --help", "show the options that most runs need").helpGroup(help))
    .addOption(new Option("--help-all", "show all options").helpGroup(help))
    .on("option:help-all", () => {
      for (const option of command.options) option.hideHelp(false);
      command.help();
    });
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
