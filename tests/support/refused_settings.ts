import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { readModelSpec } from "../../src/model/families/families.ts";

type Settings = Readonly<Record<string, unknown>>;

/**
 * Tests that settings of config.json are refused, with an error that names them.
 * @param family the name of the family in the titles of the tests
 * @param base the settings that each case changes
 */
export function testRefusedSettings(
  family: string,
  base: Settings,
  cases: readonly (readonly [settings: Settings, message: RegExp])[],
): void {
  for (const [settings, message] of cases) {
    it(`${family} refuses the settings ${JSON.stringify(settings)}`, () =>
      assert.throws(() => readModelSpec({ ...base, ...settings }, () => true), {
        name: "ModelError",
        message,
      }));
  }
}
