/**
 * A configuration with an absurd size is read or refused at once, whatever the family and the setting. Nothing may be computed or allocated
 * from a size before the tensors of the checkpoint confirm it.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { ModelError } from "../../src/base/files/file_error.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { FAMILY_FIXTURES, familyNames } from "../support/family_fixtures.ts";
import { withinBounds } from "./bounds.ts";

const ABSURD = 1_000_000_000;

/** The settings from which other settings have their defaults, one item per block. */
const LISTS = ["layer_types", "no_rope_layers"];

/** Reads a configuration of the family from its fixture. */
async function readConfig(family: string): Promise<Record<string, unknown>> {
  const { header } = decode(await Deno.readFile(`${FAMILY_FIXTURES}${family}/expected.safetensors`));
  const [config] = Object.values<Record<string, unknown>>(JSON.parse(header.metadata.configs));
  return config;
}

/** Reads the model that a configuration describes, or fails with anything but a ModelError. */
function readOrRefuse(config: Record<string, unknown>): void {
  try {
    readModelSpec(config, () => true).block(0).prefix(0);
  } catch (error) {
    assert.ok(error instanceof ModelError, String(error));
  }
}

const configs = await Promise.all(
  familyNames().map(async (family) => [family, await readConfig(family)] as const),
);

describe("a configuration with an absurd size", () => {
  for (const [family, config] of configs) {
    const settings = Object.keys(config).filter((setting) => typeof config[setting] === "number");
    it(`of ${family} is read or refused at once, for each of ${settings.length} settings`, async () => {
      for (const setting of settings) {
        const absurd: Record<string, unknown> = { ...config, [setting]: ABSURD };
        const withoutLists = Object.fromEntries(
          Object.entries(absurd).filter(([name]) => !LISTS.includes(name)),
        );
        for (const changed of [absurd, withoutLists]) await withinBounds(() => readOrRefuse(changed));
      }
    });
  }
});
