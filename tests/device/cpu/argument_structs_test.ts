/**
 * Tests that the argument struct of every AssemblyScript kernel equals the kernel's declaration. The backend writes one word per
 * binding and parameter in declaration order, and the kernel reads the words through its struct, so names, order and types must match.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import { KERNELS } from "../../../src/device/kernels/kernels.ts";

const SOURCES = new URL("../../../src/device/cpu/assembly/", import.meta.url);

/** All AssemblyScript sources, one after the other. */
async function readSources(): Promise<string> {
  const texts: string[] = [];
  for await (const { name } of Deno.readDir(SOURCES)) {
    if (name.endsWith(".ts")) texts.push(await Deno.readTextFile(new URL(name, SOURCES)));
  }
  return texts.join("\n");
}

/**
 * Returns the first capture group of the only match of `pattern`.
 * @throws {AssertionError} if there is no match or more than one
 */
function onlyMatch(source: string, pattern: string): string {
  const matches = [...source.matchAll(new RegExp(pattern, "g"))];
  assert.equal(matches.length, 1, `${matches.length} matches of ${pattern}`);
  return matches[0][1];
}

/** The `name: type` fields of the struct that an exported function takes as `args`. */
function argumentFields(source: string, functionName: string): string[] {
  const struct = onlyMatch(source, `export function ${functionName}\\(_?args: (\\w+)[,)]`);
  return structFields(source, struct);
}

/** The fields of a struct, after those of the struct that it extends. */
function structFields(source: string, struct: string): string[] {
  const [, base, body] =
    [...source.matchAll(new RegExp(`@unmanaged class ${struct}(?: extends (\\w+))? \\{([^}]*)\\}`, "g"))][0];
  const own = body.split(";").map((field) => field.trim()).filter((field) => field !== "");
  return [...base ? structFields(source, base) : [], ...own];
}

function declaredFields(kernel: Kernel): string[] {
  return [
    ...Object.keys(kernel.bindings).map((name) => `${name}: usize`),
    ...Object.entries(kernel.params).map(([name, type]) => `${name}: ${type}`),
    // The backend appends the addresses of the rounded copies of the first bindings.
    ...Object.keys(kernel.bindings).slice(0, kernel.rounded?.count ?? 0).map((name) =>
      `${name}_rounded: usize`
    ),
  ];
}

describe("the argument struct", () => {
  for (const kernel of KERNELS) {
    it(`of ${kernel.name} has the bindings and parameters of the declaration, in order`, async () => {
      const source = await readSources();
      for (const functionName of [kernel.name, `${kernel.name}_items`]) {
        assert.deepEqual(argumentFields(source, functionName), declaredFields(kernel));
      }
    });
  }
});
