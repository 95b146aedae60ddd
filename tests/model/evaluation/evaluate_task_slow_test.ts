/**
 * Tests zero-shot tasks against an independent scorer in float64 (the reference). The log-likelihoods and metrics must agree, and
 * must not depend on how requests are batched. The model is opt-sotu, a small OPT among the test fixtures.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Tokenizer } from "@huggingface/tokenizers";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { encodeRequest, type LikelihoodRequest } from "../../../src/model/evaluation/encode_request.ts";
import { evaluateTask } from "../../../src/model/evaluation/evaluate_task.ts";
import { computeLogLikelihoods } from "../../../src/model/evaluation/log_likelihoods.ts";
import { type LocatedExample, readExamples } from "../../../src/model/evaluation/read_examples.ts";
import { findTask } from "../../../src/model/evaluation/tasks.ts";
import type { Checkpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { type Model, openModel } from "../../../src/model/model.ts";
import { loadTokenizer } from "../../../src/model/tokenizer/tokenizer.ts";
import { readOptReference } from "../../reference/opt_forward.ts";
import { accuracy, PROMPTS, type ReferenceExample, scoreContinuation } from "../../reference/zero_shot.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { memoize } from "../../support/memoize.ts";
import { openOptSotu, OPT_SOTU, OPT_SOTU_URL } from "../../support/opt_sotu.ts";
import { taskFile } from "../../support/tasks.ts";

const POSITIONS = 512;
const reference = readOptReference(OPT_SOTU_URL);

/** The name of each task, the file that Pare reads, and the prompt and the file that the reference uses. */
const CASES = [
  ["lambada", "lambada.jsonl", "lambada", "lambada.jsonl"],
  ["piqa", "piqa.jsonl", "piqa", "piqa.jsonl"],
  ["piqa", "piqa_valid.jsonl", "piqa", "piqa.jsonl"],
  ["arc_easy", "arc.jsonl", "arc", "arc_hub.jsonl"],
  ["arc_challenge", "arc_hub.jsonl", "arc", "arc_hub.jsonl"],
  ["storycloze", "storycloze.csv", "storycloze", "storycloze.jsonl"],
  ["storycloze", "storycloze.jsonl", "storycloze", "storycloze.jsonl"],
] as const;

let checkpoint: Checkpoint, model: Model, tokenizer: Tokenizer;
before(async () => {
  checkpoint = await openOptSotu();
  model = openModel(checkpoint);
  tokenizer = await loadTokenizer(OPT_SOTU, denoFileSystem);
});
after(() => checkpoint.close());

function referenceExamples(prompts: keyof typeof PROMPTS, file: string): ReferenceExample[] {
  const toExample = PROMPTS[prompts] as (line: unknown) => ReferenceExample;
  const lines = Deno.readTextFileSync(taskFile(file)).split("\n").filter((line) => line !== "");
  return lines.map((line) => toExample(JSON.parse(line)));
}

const referenceScores = memoize((file: string) => {
  const prompts = CASES.find((one) => one[3] === file)![2];
  return referenceExamples(prompts, file).map(({ prompt, continuations }) =>
    continuations.map((continuation) =>
      scoreContinuation(reference, tokenizer, prompt, continuation, POSITIONS)
    )
  );
});

function encodeAll(examples: readonly LocatedExample[]): LikelihoodRequest[] {
  return examples.flatMap(({ context, choices }) =>
    choices.map((choice) => encodeRequest(tokenizer, context, ` ${choice}`, POSITIONS))
  );
}

eachBackend("zero-shot tasks on opt-sotu", (backend) => {
  for (const [name, file, prompts, referenceFile] of CASES) {
    it(`give ${name} from ${file} the same scores as the reference`, async () => {
      const task = findTask(name);
      const examples = await readExamples(task, taskFile(file), denoFileSystem);
      const expected = referenceScores(referenceFile), likelihoods = expected.flat();
      const scored = await computeLogLikelihoods(model, backend(), encodeAll(examples), { greedy: true });
      assertClose(
        scored.map(({ logLikelihood }) => logLikelihood),
        likelihoods.map(({ logLikelihood }) => logLikelihood),
        1e-5,
      );
      assert.deepEqual(scored.map(({ greedy }) => greedy), likelihoods.map(({ greedy }) => greedy));

      const metrics = await evaluateTask(task, examples, model, tokenizer, backend());
      if (name === "lambada") {
        const words = expected.map(([score]) => score);
        const loss = words.reduce((sum, { logLikelihood }) => sum - logLikelihood, 0) / words.length;
        assertClose([Math.log(metrics.perplexity.value)], [loss], 1e-5);
        assert.equal(metrics.acc.value, words.filter(({ greedy }) => greedy).length / words.length);
      } else {
        const all = referenceExamples(prompts, referenceFile);
        assert.equal(metrics.acc.value, accuracy(all, expected, false));
        assert.equal(metrics.acc_norm.value, accuracy(all, expected, true));
      }
    });
  }

  it("use only the end of a context that is longer than the limit of the model", async () => {
    const context = "We the people of the United States have met here tonight to ask what";
    const request = encodeRequest(tokenizer, context, " this Congress will do", 12);
    assert.equal(request.tokens.length, 12);
    const expected = scoreContinuation(reference, tokenizer, context, " this Congress will do", 12);
    const [{ logLikelihood, greedy }] = await computeLogLikelihoods(model, backend(), [request]);
    assertClose([logLikelihood], [expected.logLikelihood], 1e-5);
    assert.equal(greedy, undefined, "`greedy` was not requested");
  });

  it("free the device's memory", async () => {
    const live = backend().counters.bytesLive;
    await computeLogLikelihoods(model, backend(), [
      encodeRequest(tokenizer, "God bless", " America", POSITIONS),
    ]);
    assert.equal(backend().counters.bytesLive, live);
  });
});

eachBackend("computeLogLikelihoods", (backend) => {
  const requests = (count: number): LikelihoodRequest[] =>
    Array.from({ length: count }, (_, i) => {
      const ids = Uint32Array.from({ length: 3 + (i * 7) % 40 }, (_, t) => (i * 131 + t * 17) % 2048);
      return { tokens: ids.subarray(0, ids.length - 1), targets: ids.subarray(ids.length - 1 - i % 2) };
    });

  it("gives results that do not depend on how requests are batched, in the order of the requests", async () => {
    const all = requests(23);
    const together = await computeLogLikelihoods(model, backend(), all, { greedy: true });
    const memory = { activationBytes: 1 << 19, hiddenStatesBytes: 0 };
    const divided = await computeLogLikelihoods(model, backend(), all, { greedy: true, memory });
    const alone = [];
    for (const request of all) {
      alone.push(...await computeLogLikelihoods(model, backend(), [request], { greedy: true }));
    }
    for (const other of [divided, alone]) {
      assertClose(other.map((one) => one.logLikelihood), together.map((one) => one.logLikelihood), 1e-5);
      assert.deepEqual(other.map((one) => one.greedy), together.map((one) => one.greedy));
    }
  });

  it("returns an empty list for no requests", async () => {
    assert.deepEqual(await computeLogLikelihoods(model, backend(), []), []);
  });

  it("reports its progress up to the end, and stops when it is aborted", async () => {
    const steps: number[] = [];
    await computeLogLikelihoods(model, backend(), requests(5), {
      progress: (done, total) => void steps.push(done / total),
    });
    assert.equal(steps.at(-1), 1);
    assert.deepEqual(steps, steps.toSorted((a, b) => a - b));
    const live = backend().counters.bytesLive;
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(computeLogLikelihoods(model, backend(), requests(5), { signal }), /enough/);
    assert.equal(backend().counters.bytesLive, live);
  });
});

describe("an example that is longer than the model's limit", () => {
  it("is refused with its file and line before anything runs", async () => {
    const task = findTask("piqa");
    const choice = "the people ".repeat(600);
    const example = {
      context: "Question: what?\nAnswer:",
      choices: ["a", choice],
      answer: 0,
      location: "p.jsonl: line 7",
    };
    const noBackend = undefined as unknown as Parameters<typeof evaluateTask>[4];
    await assert.rejects(evaluateTask(task, [example], model, tokenizer, noBackend), {
      name: "ModelError",
      message: /^p\.jsonl: line 7: choice of \d+ tokens: the model has positions for 512$/,
    });
  });
});
