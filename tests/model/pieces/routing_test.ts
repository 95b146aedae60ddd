/** Tests the choice of experts: the factors, the order of the tokens, equal scores, and experts without tokens. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { routeTokens } from "../../../src/model/pieces/routing.ts";
import { assertClose } from "../../support/assert_close.ts";
import { normals } from "../../support/random.ts";

/** Returns the experts of each token with their factors, by the definition. */
function expectedRoutes(
  scores: Float32Array,
  experts: number,
  expertsPerToken: number,
  isNormalized: boolean,
) {
  return Array.from({ length: scores.length / experts }, (_, token) => {
    const row = [...scores.subarray(token * experts, (token + 1) * experts)].map((score) => Math.exp(score));
    const total = row.reduce((sum, value) => sum + value, 0);
    const softmax = row.map((value, expert) => ({ expert, factor: value / total }));
    const best = softmax.sort((a, b) => b.factor - a.factor).slice(0, expertsPerToken);
    const sum = isNormalized ? best.reduce((partial, { factor }) => partial + factor, 0) : 1;
    return best.map(({ expert, factor }) => ({ expert, factor: factor / sum }));
  });
}

describe("routeTokens()", () => {
  for (const [experts, expertsPerToken] of [[2, 1], [8, 2], [7, 7], [64, 8]]) {
    for (const isNormalized of [false, true]) {
      it(`routes tokens to ${expertsPerToken} of ${experts} experts with ${isNormalized ? "" : "no "}normalisation`, () => {
        const tokens = 50, scores = normals(tokens * experts, experts);
        const expected = expectedRoutes(scores, experts, expertsPerToken, isNormalized);
        const { starts, tokens: rows, factors } = routeTokens(scores, {
          experts,
          expertsPerToken,
          isNormalized,
        });
        assert.equal(starts.length, experts + 1);
        for (let expert = 0; expert < experts; expert++) {
          const mine = rows.subarray(starts[expert], starts[expert + 1]);
          const routed = expected.flatMap((choices, token) =>
            choices.filter((choice) => choice.expert === expert).map(({ factor }) => ({ token, factor }))
          );
          assert.deepEqual([...mine], routed.map(({ token }) => token));
          const actual = factors.subarray(starts[expert], starts[expert + 1]);
          assertClose(actual, routed.map(({ factor }) => factor), 1e-6, { scale: 1 });
        }
        assert.equal(starts[experts], tokens * expertsPerToken);
      });
    }
  }

  it("chooses the experts with the lower numbers if scores are equal, and does not overflow", () => {
    const scores = Float32Array.of(1000, 1000, 1000, -1000, 1000, -1000, -1000, -1000);
    const { starts, tokens, factors } = routeTokens(scores, {
      experts: 4,
      expertsPerToken: 2,
      isNormalized: false,
    });
    assert.deepEqual(starts, [0, 2, 4, 4, 4]);
    assert.deepEqual([...tokens], [0, 1, 0, 1]);
    assertClose(factors, [1 / 3, 1, 1 / 3, 0], 1e-6);
  });
});
