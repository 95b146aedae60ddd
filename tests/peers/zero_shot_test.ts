/**
 * Compares the scores of zero-shot tasks with those of lm-evaluation-harness. The examples are made of the
 * sentences of the evaluation text.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { sotuText } from "../../scripts/fixtures/sotu_text.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { encodeRequest } from "../../src/model/evaluation/encode_request.ts";
import { computeLogLikelihoods } from "../../src/model/evaluation/log_likelihoods.ts";
import { readExamples } from "../../src/model/evaluation/read_examples.ts";
import { computeTaskMetrics } from "../../src/model/evaluation/evaluate_task.ts";
import { findTask } from "../../src/model/evaluation/tasks.ts";
import { type ModelFolder, openModelFolder } from "../../src/model/model.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { memoize } from "../support/memoize.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { describePeers } from "./describe_peers.ts";

/** The number of examples of each task. */
const EXAMPLES = 12;

/** The answer of `lm_eval_scores.py` for one task. */
interface Scores {
  readonly likelihoods: readonly (readonly number[])[];
  readonly greedy: readonly (readonly boolean[])[];
  readonly metrics: Readonly<Record<string, number>>;
}

/** Cuts a sentence in the middle of its words. */
function halves(sentence: string): [string, string] {
  const words = sentence.split(" "), middle = words.length >> 1;
  return [words.slice(0, middle).join(" "), words.slice(middle).join(" ")];
}

const sentences = (await sotuText("evaluation")).split(/(?<=[.?!])\s+/)
  .filter((sentence) => /^[A-Z].{40,120}[.?!]$/.test(sentence)).slice(0, 5 * EXAMPLES);

/** Returns sentence `i` of the text. After the last one, the first one follows. */
const sentence = (i: number) => sentences[i % sentences.length];

/**
 * The tasks: the harness's configuration, and example `i` in the form that both programs read. The right answers
 * have different positions.
 */
const TASKS: Readonly<Record<string, { config: string; example(i: number): object }>> = {
  lambada: {
    config: "lambada/lambada_standard.yaml",
    example: (i) => ({ text: `${sentence(2 * i)} ${sentence(2 * i + 1)}` }),
  },
  piqa: {
    config: "piqa/piqa.yaml",
    example: (i) => {
      const [goal, right] = halves(sentence(i)), [, wrong] = halves(sentence(i + 7));
      return i % 2 === 0
        ? { goal, sol1: right, sol2: wrong, label: 0 }
        : { goal, sol1: wrong, sol2: right, label: 1 };
    },
  },
  arc_easy: {
    config: "arc/arc_easy.yaml",
    example: (i) => {
      const text = Array.from({ length: 3 + i % 3 }, (_, k) => halves(sentence(i + 5 * k))[1]);
      const right = i % text.length;
      [text[0], text[right]] = [text[right], text[0]];
      return {
        question: halves(sentence(i))[0],
        choices: { text, label: ["A", "B", "C", "D", "E"].slice(0, text.length) },
        answerKey: "ABCDE"[right],
      };
    },
  },
  storycloze: {
    config: "storycloze/storycloze_2018.yaml",
    example: (i) => {
      const story = Object.fromEntries(
        [1, 2, 3, 4].map((n) => [`input_sentence_${n}`, sentence(4 * i + n)]),
      );
      const [first, second] = i % 3 === 0 ? [5, 11] : [11, 5];
      return {
        ...story,
        sentence_quiz1: sentence(4 * i + first),
        sentence_quiz2: sentence(4 * i + second),
        answer_right_ending: i % 3 === 0 ? 1 : 2,
      };
    },
  },
};

await describePeers("zero-shot tasks, compared with lm-evaluation-harness", (peers) => {
  const file = (name: string) => `${peers().folder}/${name}.jsonl`;

  /** Writes the examples and evaluates all tasks by the harness. The key is the folder of the model. */
  const harness = memoize(async (folder: string) => {
    const tasks = Object.entries(TASKS).map(([name, { config }]) => ({ name, config, file: file(name) }));
    for (const [name, { example }] of Object.entries(TASKS)) {
      const lines = Array.from({ length: EXAMPLES }, (_, i) => JSON.stringify(example(i)));
      await Deno.writeTextFile(file(name), lines.join("\n"));
    }
    const request = { folder, scratch: peers().folder, tasks };
    return await peers().ask<Record<string, Scores>>("lm_eval_scores", request);
  });

  eachBackend("on opt-sotu", (backend) => {
    for (const name of Object.keys(TASKS)) {
      it(`give ${name} the same likelihoods and metrics`, async () => {
        const { likelihoods, greedy, metrics } = (await harness(OPT_SOTU))[name];
        await using opened: ModelFolder = await openModelFolder(OPT_SOTU, denoFileSystem);
        const { model } = opened, tokenizer = await opened.loadTokenizer();
        const task = findTask(name), examples = await readExamples(task, file(name), denoFileSystem);
        const requests = examples.flatMap(({ context, choices }) =>
          choices.map((choice) => encodeRequest(tokenizer, context, ` ${choice}`, model.spec.maxTokens))
        );
        const scored = await computeLogLikelihoods(model, backend(), requests, { greedy: true });
        assertClose(scored.map(({ logLikelihood }) => logLikelihood), likelihoods.flat(), 1e-5);
        assert.deepEqual(scored.map(({ greedy }) => greedy), greedy.flat());

        let next = 0;
        const perExample = examples.map(({ choices }) => scored.slice(next, next += choices.length));
        const measured = computeTaskMetrics(task.scoring, examples, perExample);
        const shared = Object.keys(measured).filter((metric) => metric in metrics);
        assert.ok(shared.includes("acc"), `metrics of the harness: ${Object.keys(metrics)}`);
        for (const metric of shared) {
          assertClose([measured[metric].value], [metrics[metric]], 1e-5, { label: metric });
          // The harness estimates the error of the perplexity from random samples, so it cannot be compared.
          if (metric === "perplexity") continue;
          const error = metrics[`${metric}_stderr`];
          assertClose([measured[metric].stderr!], [error], 1e-5, { label: `standard error of ${metric}` });
        }
      });
    }
  });

  it("have examples that are neither all right nor all wrong", async () => {
    for (const [name, { metrics }] of Object.entries(await harness(OPT_SOTU))) {
      if (name !== "lambada") assert.ok(metrics.acc > 0 && metrics.acc < 1, `${name}: ${metrics.acc}`);
    }
  });
});
