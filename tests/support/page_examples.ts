/** Runs the examples of Markdown pages. */

import assert from "node:assert/strict";

/** Returns the fenced code block number `index` of a page among those in one language. @throws {AssertionError} if there is none */
export async function exampleOf(page: URL, language: string, index: number): Promise<string> {
  const text = await Deno.readTextFile(page);
  const blocks = [...text.matchAll(new RegExp("^```" + language + "\\n([\\s\\S]*?)^```", "gm"))];
  assert.ok(blocks.length > index, `${page.pathname} has only ${blocks.length} examples in ${language}`);
  return blocks[index][1];
}

/** Runs a command in a folder and returns its output. @throws {AssertionError} with its standard error if it fails */
export async function runCommand(command: string, args: string[], cwd: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args, cwd }).output();
  const text = new TextDecoder();
  assert.ok(success, `${command}: ${text.decode(stderr)}${text.decode(stdout)}`);
  return text.decode(stdout);
}

/** Returns the reason to skip a test that needs a command, or false if the command exists. */
export function missingCommand(command: string): string | false {
  try {
    return new Deno.Command(command, { args: ["--version"], stdout: "null", stderr: "null" }).outputSync()
        .success
      ? false
      : `${command} --version fails`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return `${command} is not installed`;
    throw error;
  }
}
