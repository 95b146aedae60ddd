/** The SDK refuses hostile answers of a server soon, without much memory, and with a short error. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { MalformedAnswerError } from "../../src/client/errors.ts";
import { decodeAnswer } from "../../src/client/blocks/check_block.ts";
import { Jobs } from "../../src/client/jobs/jobs.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { printCosts, withinBounds } from "./bounds.ts";
import { type BytePart, bytesOf } from "./bytes.ts";

const MAX_MESSAGE_CHARACTERS = 1000;

const LISTS: Readonly<Record<string, readonly BytePart[]>> = {
  "a million wrong jobs": ['{"cursor":null,"jobs":[', { repeat: "0,", times: 1_000_000 }, "0]}"],
  "200,000 wrong jobs": ['{"cursor":null,"jobs":[', { repeat: "0,", times: 200_000 }, "0]}"],
  "a million empty lists": ['{"cursor":null,"jobs":[', { repeat: "[],", times: 1_000_000 }, "[]]}"],
  "deeply nested lists": [{ repeat: "[", times: 1_000_000 }],
};

async function assertRefused(name: string, read: () => unknown): Promise<void> {
  await withinBounds(() =>
    assert.rejects(async () => await read(), (error: unknown) => {
      assert.ok(error instanceof MalformedAnswerError, String(error));
      assert.ok(error.message.length <= MAX_MESSAGE_CHARACTERS, `${error.message.length} characters`);
      return true;
    }), name);
}

describe("the SDK, given a hostile answer,", () => {
  after(printCosts);

  for (const [name, parts] of Object.entries(LISTS)) {
    it(`refuses ${name} as a list of jobs`, async () => {
      const body = bytesOf(parts), headers = { "Content-Type": "application/json" };
      const jobs = new Jobs({
        baseUrl: "http://edge",
        fetch: () => Promise.resolve(new Response(body, { headers })),
      });
      await assertRefused(name, () => jobs.list());
    });
  }

  for (const [name, parts] of Object.entries(LISTS)) {
    it(`refuses ${name} in the metadata of a block`, async () => {
      const block = new TextDecoder().decode(bytesOf(parts)).replace('{"cursor":null,"jobs":', '{"layers":');
      const file = encode({}, { block });
      await assertRefused(`${name} in a block`, () => decodeAnswer(file));
    });
  }
});
