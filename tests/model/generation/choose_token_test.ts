/** Tests the choice of the next token from logits. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { drawToken, mostLikelyToken, type Sampling } from "../../../src/model/generation/choose_token.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";

/** The logarithms of the probabilities 0.5, 0.3, 0.15 and 0.05, in another order. */
const LOGITS = Float32Array.from([0.15, 0.5, 0.05, 0.3], Math.log), DRAWS = 20000;

/** Returns the shares of the tokens in many draws. */
function shares(sampling: Omit<Sampling, "random">): number[] {
  const random = uniform(1), counts = [0, 0, 0, 0];
  for (let i = 0; i < DRAWS; i++) counts[drawToken(LOGITS, { ...sampling, random })]++;
  return counts.map((count) => count / DRAWS);
}

describe("mostLikelyToken()", () => {
  it("returns the token with the largest logit, or the first of several", () => {
    assert.equal(mostLikelyToken(LOGITS), 1);
    assert.equal(mostLikelyToken(Float32Array.of(-3, -1, -1)), 1);
  });
});

describe("drawToken()", () => {
  const cases: [name: string, sampling: Omit<Sampling, "random">, expected: number[]][] = [
    ["the probabilities of the softmax", { temperature: 1 }, [0.15, 0.5, 0.05, 0.3]],
    ["the squares of the probabilities at temperature 0.5", { temperature: 0.5 }, [
      ...[0.0225, 0.25, 0.0025, 0.09].map((square) => square / 0.365),
    ]],
    ["the two most likely tokens with topK 2", { temperature: 1, topK: 2 }, [0, 0.625, 0, 0.375]],
    ["the tokens that reach topP", { temperature: 1, topP: 0.7 }, [0, 0.625, 0, 0.375]],
    ["one token if topP is small", { temperature: 1, topP: 1e-9 }, [0, 1, 0, 0]],
    ["topP of the tokens that topK leaves", { temperature: 1, topK: 2, topP: 0.6 }, [0, 1, 0, 0]],
    ["the most likely token at a tiny temperature", { temperature: 1e-30 }, [0, 1, 0, 0]],
  ];
  for (const [name, sampling, expected] of cases) {
    it(`draws with ${name}`, () => {
      shares(sampling).forEach((share, i) => assert.ok(Math.abs(share - expected[i]) < 0.015, `${share}`));
    });
  }
});
