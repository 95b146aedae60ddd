/** Tests that the table of permissions knows every command, argument and option of the command line. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Command, Option } from "commander";
import { createProgram } from "../../../src/cli/main.ts";
import { COMMANDS, SWITCHES } from "../../../src/cli/permissions/commands.ts";

/** The placeholders of options and arguments that name files, folders, texts, models or servers. */
const NAMES_SOMETHING = /<(file|folder|model|repository|name=file|text|protocol|url|path|library|runtime)>/;

/** The options that name something but grant nothing by themselves. */
const HARMLESS = ["public-url"]; // the edge connects to this URL, and the host does not

/** The options that `permission_flags.ts` handles for all commands. */
const EXTRA = ["allow-read", "allow-write"];

/** Returns the commands that have no subcommands, by full name. */
function commandsOf(command: Command, prefix = ""): [name: string, command: Command][] {
  if (command.commands.length === 0) return [[prefix.trim(), command]];
  return command.commands.flatMap((child) => commandsOf(child, `${prefix} ${child.name()}`));
}

const program = createProgram(new AbortController().signal), commands = commandsOf(program);
const name = (option: Option) => option.long!.slice(2);

describe("the table of permissions", () => {
  it("has every command, and no other", () => {
    assert.deepEqual(Object.keys(COMMANDS).sort(), commands.map(([name]) => name).sort());
  });

  it("has a role for every argument and option that names a file, a folder, a model or a server", () => {
    for (const [title, command] of commands) {
      const named = command.options.filter(({ flags }) => NAMES_SOMETHING.test(flags)).map(name)
        .filter((option) => !HARMLESS.includes(option) && !EXTRA.includes(option));
      assert.deepEqual(Object.keys(COMMANDS[title].options ?? {}).sort(), named.sort(), title);
      const nameable = command.registeredArguments.filter((argument) =>
        NAMES_SOMETHING.test(`<${argument.name()}>`)
      );
      assert.equal(COMMANDS[title].arguments?.length ?? 0, nameable.length, title);
    }
  });

  it("has the environment variable of every option", () => {
    for (const [title, command] of commands) {
      const defaults = command.options.flatMap((option) =>
        option.envVar ? [[name(option), option.envVar]] : []
      );
      assert.deepEqual(COMMANDS[title].defaults ?? {}, Object.fromEntries(defaults), title);
    }
  });

  it("knows which options have no value", () => {
    const all = commands.flatMap(([, command]) => command.options);
    const switches = all.filter((option) => option.isBoolean() || option.negate).map(name);
    assert.deepEqual([...SWITCHES].sort(), [...new Set([...switches, "help", "version"])].sort());
  });
});
