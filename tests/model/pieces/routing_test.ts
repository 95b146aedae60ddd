/** Tests the choice of experts: the factors, the order of the tokens, equal scores, and experts without tokens. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type Routes, routeToAll, routeTokens, withSharedExpert } from "../../../src/model/pieces/routing.ts";
import { assertClose } from "../../support/assert_close.ts";
import { normals } from "../../../scripts/fixtures/random.ts";

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

/** Returns the experts of each token with their factors. */
function choicesOf({ starts, tokens, factors }: Routes): { expert: number; factor: number }[][] {
  const choices: { expert: number; factor: number }[][] = [];
  for (let expert = 0; expert + 1 < starts.length; expert++) {
    for (let i = starts[expert]; i < starts[expert + 1]; i++) {
      (choices[tokens[i]] ??= []).push({ expert, factor: factors[i] });
    }
  }
  return choices;
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

  it("adds corrections to sigmoids when it chooses groups and experts, but not to the factors", () => {
    const experts = 12, groups = { count: 4, perToken: 2, summed: 2 }, tokens = 60;
    const outputs = normals(tokens * experts, 31), correction = normals(experts, 32);
    const rule = {
      experts,
      expertsPerToken: 3,
      isNormalized: true,
      scores: "sigmoid",
      groups,
      scale: 2.5,
    } as const;
    const descending = (values: number[]) => values.toSorted((a, b) => b - a);
    const expected = Array.from({ length: tokens }, (_, token) => {
      const scores = [...outputs.subarray(token * experts, (token + 1) * experts)].map((x) =>
        1 / (1 + Math.exp(-x))
      );
      const corrected = scores.map((score, expert) => score + correction[expert]);
      const groupScore = (group: number) => {
        const [first, second] = descending(corrected.slice(3 * group, 3 * group + 3));
        return first + second;
      };
      const byScore = [0, 1, 2, 3].toSorted((a, b) => groupScore(b) - groupScore(a)),
        allowed = byScore.slice(0, 2);
      const chosen = scores.map((score, expert) => ({ score, expert, rank: corrected[expert] }))
        .filter(({ expert }) => allowed.includes(Math.floor(expert / 3)))
        .toSorted((a, b) => b.rank - a.rank).slice(0, 3);
      const sum = chosen.reduce((total, { score }) => total + score, 0);
      return chosen.map(({ expert, score }) => ({ expert, factor: 2.5 * score / sum }))
        .toSorted((a, b) => a.expert - b.expert);
    });
    const actual = choicesOf(routeTokens(outputs, rule, correction));
    assert.deepEqual(
      actual.map((row) => row.map(({ expert }) => expert)),
      expected.map((row) => row.map(({ expert }) => expert)),
    );
    assertClose(actual.flat().map(({ factor }) => factor), expected.flat().map(({ factor }) => factor), 1e-6);
    const withoutGroups = choicesOf(routeTokens(outputs, { ...rule, groups: undefined }, correction));
    assert.notDeepEqual(withoutGroups, actual);
    const withoutCorrection = choicesOf(routeTokens(outputs, rule));
    assert.notDeepEqual(withoutCorrection, actual);
  });

  it("takes the sigmoids themselves as factors if they are not normalised", () => {
    const routes = routeTokens(Float32Array.of(-1, 3, 2), {
      experts: 3,
      expertsPerToken: 2,
      isNormalized: false,
      scores: "sigmoid",
    });
    assertClose(routes.factors, [1 / (1 + Math.exp(-3)), 1 / (1 + Math.exp(-2))], 1e-6);
  });

  it("gives the best expert of each group the choice if one score per group is compared", () => {
    const outputs = Float32Array.of(0, 0, 9, 1, 5, 5);
    const groups = { count: 3, perToken: 1, summed: 1 };
    const { starts } = routeTokens(outputs, { experts: 6, expertsPerToken: 2, isNormalized: false, groups });
    assert.deepEqual(starts, [0, 0, 0, 1, 2, 2, 2]);
  });
});

it("withSharedExpert() adds an expert with all tokens, and routeToAll() gives all tokens to all experts", () => {
  const rule = { experts: 2, expertsPerToken: 1, isNormalized: true };
  const routes = withSharedExpert(
    routeTokens(Float32Array.of(1, 0, 0, 1), rule),
    Float32Array.of(0.25, 0.75),
  );
  assert.deepEqual(choicesOf(routes), [
    [{ expert: 0, factor: 1 }, { expert: 2, factor: 0.25 }],
    [{ expert: 1, factor: 1 }, { expert: 2, factor: 0.75 }],
  ]);
  const all = routeToAll(3, 2), every = [0, 1, 2].map((expert) => ({ expert, factor: 1 }));
  assert.deepEqual(choicesOf(all), [every, every]);
  const factors = Float32Array.of(0.25, 0.5, 0.75, 1);
  assert.deepEqual(choicesOf(routeToAll(3, 2, factors)), [
    [{ expert: 0, factor: 0.25 }, { expert: 1, factor: 0.5 }, { expert: 2, factor: 1 }],
    [{ expert: 0, factor: 0.75 }, { expert: 1, factor: 1 }, { expert: 2, factor: 1 }],
  ]);
});
