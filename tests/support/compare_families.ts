/**
 * Compares every family that has a checkpoint in `tests/fixtures/families` with the numbers that transformers computed in
 * float64: the logits, and the statistics of the inputs of every linear layer. Each variant of a family has other settings.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { blocksOf } from "../../src/model/families/family.ts";
import { assertClose } from "./assert_close.ts";
import { denseStatistics } from "./dense_statistics.ts";
import { familyNames, readFamilyFixture } from "./family_fixtures.ts";
import { decodedLogits, decodedRows, windowLogits } from "./logits.ts";

export const FIXTURES = new Map(
  await Promise.all(familyNames().map(async (name) => [name, await readFamilyFixture(name)] as const)),
);

/** Returns the packed upper triangle of the identity with the size of `packed`. */
function identityLike(packed: Float32Array): number[] {
  const size = (Math.sqrt(8 * packed.length + 1) - 1) / 2;
  return Array.from({ length: size }, (_, i) => [1, ...Array<number>(size - 1 - i).fill(0)]).flat();
}

/** Declares the tests that compare every family on a backend. */
export function compareFamilies(backend: () => Backend): void {
  for (const [family, { windows, variants }] of FIXTURES) {
    for (const { name, model, logits, hessians, tokens } of variants) {
      it(`computes the logits of ${family}, ${name}`, async () => {
        const actual: number[] = [];
        for (const window of windows) actual.push(...await windowLogits(model, backend(), window));
        assertClose(actual, logits, 1e-5);
      });

      it(`computes the same logits token by token, with stored keys and values, for ${family}, ${name}`, async () => {
        const { vocabSize } = model.spec, [window] = windows;
        const expected = decodedRows(logits.subarray(0, window.length * vocabSize), vocabSize);
        assertClose(await decodedLogits(model, backend(), window), expected, 1e-5);
      });

      it(`computes the statistics of every layer of ${family}, ${name}`, async () => {
        const actual = await denseStatistics(model, backend(), windows);
        // One layer of each group is compared. Routers and convolutions are in no group.
        const compared = blocksOf(model.spec).flatMap(({ groups, prefix }, index) =>
          groups.map(([{ name }]) => `${prefix(index)}${name}.weight`)
        );
        assert.deepEqual(compared.toSorted(), [...hessians.keys()].toSorted());
        for (const [layer, expected] of tokens) assert.equal(actual.tokens.get(layer), expected, layer);
        for (const [layer, sum] of hessians) {
          // If no token was routed to an expert, the identity takes the place of a sum that is 0.
          const expected = tokens.get(layer) === 0 ? identityLike(sum) : sum;
          assertClose(actual.hessians.get(layer)!, expected, 1e-5, { label: layer });
        }
      });
    }
  }
}
