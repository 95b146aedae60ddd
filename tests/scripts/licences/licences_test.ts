/** Tests the check of licences: which it allows, and how the licences of libraries are collected. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { licenceProblems, readLockFile } from "../../../scripts/licences/check_licences.ts";
import { librariesOf, licencesText, modulesOfBundle } from "../../../scripts/licences/libraries.ts";
import { shippedModules } from "../../../scripts/licences/shipped_modules.ts";
import { ROOT } from "../../../scripts/packages/command/places.ts";

const library = (licence: string) => ({ name: "a", version: "1.0.0", licence, texts: [] });
const LOCK = { npm: { "a@1.0.0_b@2.0.0": {} } };

describe("licenceProblems()", () => {
  it("allows permissive licences, alone, as one of several, and together", () => {
    for (const licence of ["MIT", "(GPL-3.0-only OR MIT)", "MIT AND ISC"]) {
      assert.deepEqual(licenceProblems([library(licence)], LOCK), [], licence);
    }
  });

  it("refuses every other licence by the name of the library", () => {
    for (const licence of ["GPL-3.0-only", "MIT AND GPL-3.0-only", "SEE LICENSE IN LICENSE", "UNLICENSED"]) {
      const [problem, ...others] = licenceProblems([library(licence)], LOCK);
      assert.ok(problem.startsWith(`a 1.0.0: its licence ${licence} is none of 0BSD, `), problem);
      assert.deepEqual(others, []);
    }
  });

  it("refuses a library that deno.lock does not have", () => {
    assert.deepEqual(licenceProblems([library("MIT")], { npm: { "a@1.0.1": {} } }), [
      "a 1.0.0: is not in deno.lock",
    ]);
  });

  it("allows everything that Pare ships", async () => {
    const libraries = await librariesOf(await shippedModules(), ROOT),
      names = libraries.map(({ name }) => name);
    for (const name of ["hono", "zod", "@huggingface/hub", "assemblyscript", "@noble/hashes"]) {
      assert.ok(names.includes(name), name);
    }
    assert.deepEqual(licenceProblems(libraries, await readLockFile()), []);
  });
});

describe("librariesOf()", () => {
  it("describes each library once, with the text of its licence", async () => {
    const zod = "node_modules/zod";
    const bundle = `// src/client/mod.ts\nlet a;\n// ${zod}/v4/core/util.js\nlet b;\n// ${zod}/index.js\n`;
    const modules = modulesOfBundle(bundle), libraries = await librariesOf(modules, ROOT);
    assert.deepEqual(modules, [`${zod}/v4/core/util.js`, `${zod}/index.js`]);
    assert.deepEqual(libraries.map(({ name, licence }) => `${name}: ${licence}`), ["zod: MIT"]);
    assert.match(licencesText(libraries), /^zod [\d.]+, MIT licence\n\n[^]*Permission is hereby granted/);
  });
});
