/** Tests how requests of zero-shot tasks are encoded, and how they are divided into buckets of similar length. */

import assert from "node:assert/strict";
import { before, describe, it } from "@std/testing/bdd";
import { Tokenizer } from "@huggingface/tokenizers";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { bucketByLength, encodeRequest } from "../../../src/model/evaluation/encode_request.ts";
import { loadTokenizer } from "../../../src/model/tokenizer/tokenizer.ts";
import { OPT_SOTU } from "../../support/opt_sotu.ts";

let tokenizer: Tokenizer;
before(async () => {
  tokenizer = await loadTokenizer(OPT_SOTU, denoFileSystem);
});

const text = (ids: Uint32Array) => tokenizer.decode([...ids]);

describe("encodeRequest", () => {
  it("returns all tokens except the last as input, and the continuation's tokens as targets", () => {
    const { tokens, targets } = encodeRequest(tokenizer, "The State of the", " Union is naïve", 512);
    assert.equal(text(targets), " Union is naïve");
    const whole = tokenizer.encode("The State of the Union is naïve").ids;
    assert.deepEqual([...tokens], whole.slice(0, -1));
    assert.ok(targets.length > 3);
  });

  it("counts white space at the end of the context as part of the continuation", () => {
    const moved = encodeRequest(tokenizer, "The State of the \n", "Union", 512);
    assert.equal(text(moved.targets), " \nUnion");
    const space = encodeRequest(tokenizer, "The State of the ", "Union", 512);
    assert.deepEqual(space, encodeRequest(tokenizer, "The State of the", " Union", 512));
  });

  it("removes tokens from the start of a context that is too long", () => {
    const whole = encodeRequest(tokenizer, "The State of the", " Union", 512);
    for (const most of [1, 2, whole.tokens.length]) {
      const { tokens, targets } = encodeRequest(tokenizer, "The State of the", " Union", most);
      assert.deepEqual([...tokens], [...whole.tokens].slice(-most));
      assert.deepEqual(targets, whole.targets);
    }
  });

  it("adds no special tokens, even if the tokenizer would add them", () => {
    const { model } = JSON.parse(Deno.readTextFileSync(`${OPT_SOTU}/tokenizer.json`));
    const start = { SpecialToken: { id: "<s>", type_id: 0 } }, rest = { Sequence: { id: "A", type_id: 0 } };
    const definition = {
      ...JSON.parse(Deno.readTextFileSync(`${OPT_SOTU}/tokenizer.json`)),
      post_processor: {
        type: "TemplateProcessing",
        single: [start, rest],
        pair: [start, rest],
        special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: [Object.keys(model.vocab)[0]] } },
      },
    };
    const adding = new Tokenizer(definition, {});
    assert.equal(adding.encode("Union").ids.length, tokenizer.encode("Union").ids.length + 1);
    assert.deepEqual(
      encodeRequest(adding, "The", " Union", 512),
      encodeRequest(tokenizer, "The", " Union", 512),
    );
  });

  for (
    const [description, context, continuation, most, message] of [
      ["an empty context", "", " Union", 512, /context "": has no tokens/],
      ["a context of white space", " \n", " Union", 512, /has no tokens/],
      ["an empty continuation", "The", "", 512, /choice "": has no tokens/],
      [
        "a continuation longer than the window",
        "The",
        " State of the Union is",
        2,
        /choice of \d tokens.*positions for 2/,
      ],
    ] as const
  ) {
    it(`refuses ${description}`, () => {
      assert.throws(() => encodeRequest(tokenizer, context, continuation, most), {
        name: "RangeError",
        message,
      });
    });
  }
});

describe("bucketByLength", () => {
  it("returns each index once, longest request first, in buckets whose padding is at most a quarter", () => {
    const lengths = Array.from({ length: 200 }, (_, i) => 1 + (i * 37) % 113);
    const buckets = bucketByLength(lengths);
    assert.deepEqual(buckets.flat().toSorted((a, b) => a - b), [...lengths.keys()]);
    for (const bucket of buckets) {
      assert.equal(lengths[bucket[0]], Math.max(...bucket.map((i) => lengths[i])));
      assert.ok(bucket.every((i) => lengths[i] >= 0.75 * lengths[bucket[0]]));
    }
    assert.ok(buckets.length < 20, `${buckets.length} buckets`);
  });

  it("limits the tokens of a bucket, padding included", () => {
    assert.deepEqual(bucketByLength([5, 4, 4, 4, 9], 10), [[4], [0, 1], [2, 3]]);
    assert.deepEqual(bucketByLength([5, 5, 3], 4), [[0], [1], [2]]);
  });

  it("returns no buckets for no requests", () => assert.deepEqual(bucketByLength([]), []));

  it("does not reorder requests of equal length", () =>
    assert.deepEqual(bucketByLength([5, 5, 2, 5]), [[0, 1, 3], [2]]));
});
