/** Tests computeTaskMetrics(), which computes the metrics of a zero-shot task from log-likelihoods. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { computeTaskMetrics } from "../../../src/model/evaluation/evaluate_task.ts";
import { assertClose } from "../../support/assert_close.ts";

const likelihood = (logLikelihood: number, greedy?: boolean) => ({ logLikelihood, greedy });

describe("computeTaskMetrics", () => {
  it("counts examples in which the right choice is the likeliest, in total (acc) or per character (acc_norm)", () => {
    const examples = [
      { context: "c", choices: ["no", "certainly"], answer: 1 },
      { context: "c", choices: ["yes", "not"], answer: 0 },
      { context: "c", choices: ["yes", "not"], answer: 0 },
      { context: "c", choices: ["yes", "not"], answer: 0 },
    ];
    const scores = [[-4, -9], [-1, -2], [-2, -1], [-1, -2]].map((row) => row.map((one) => likelihood(one)));
    const { acc, acc_norm } = computeTaskMetrics("choices", examples, scores);
    assert.equal(acc.value, 0.5);
    assert.equal(acc_norm.value, 0.75);
    assertClose([acc.stderr!, acc_norm.stderr!], [Math.sqrt(1 / 3 / 4), Math.sqrt(0.75 / 3 / 4)], 1e-12);
  });

  it("prefers the first of equally likely choices, and counts characters rather than UTF-16 units", () => {
    const tie = [{ context: "c", choices: ["aa", "bb"], answer: 1 }];
    assert.equal(computeTaskMetrics("choices", tie, [[likelihood(-1), likelihood(-1)]]).acc.value, 0);
    // −6 over 2 characters loses to −7 over 3 characters. With UTF-16 units, −6 over 4 would win.
    const unicode = [{ context: "c", choices: ["🐝🐝", "bee"], answer: 1 }];
    assert.equal(
      computeTaskMetrics("choices", unicode, [[likelihood(-6), likelihood(-7)]]).acc_norm.value,
      1,
    );
  });

  it("computes the perplexity of last words, and the share of them that greedy decoding generates", () => {
    const examples = [1, 2].map(() => ({ context: "c", choices: ["w"], answer: 0 }));
    const { perplexity, acc } = computeTaskMetrics("last word", examples, [[likelihood(-1, true)], [
      likelihood(-3, false),
    ]]);
    assertClose([perplexity.value, perplexity.stderr!], [Math.exp(2), Math.exp(2)], 1e-12);
    assert.equal(acc.value, 0.5);
  });

  it("returns no standard error for a single example", () => {
    const one = [{ context: "c", choices: ["w"], answer: 0 }];
    assert.deepEqual(computeTaskMetrics("choices", one, [[likelihood(-1)]]).acc, { value: 1, stderr: null });
  });
});
