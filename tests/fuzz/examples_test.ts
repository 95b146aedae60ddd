/** Fuzzes the files of the zero-shot tasks, in both formats. */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Task } from "../../src/model/evaluation/tasks.ts";
import { readExamples } from "../../src/model/evaluation/read_examples.ts";
import { findTask, TASKS } from "../../src/model/evaluation/tasks.ts";
import { ModelError } from "../../src/base/files/file_error.ts";
import { damagedText } from "./arbitraries/damaged_bytes.ts";
import { damagedJson } from "./arbitraries/damaged_json.ts";
import { FOLDER, memoryFolder } from "../support/memory_folder.ts";
import { fuzz, type Outcome, unlessRefused } from "./property.ts";

const FIXTURES = new URL("../fixtures/tasks/", import.meta.url);
const isModelError = (error: unknown) => error instanceof ModelError;

/** Reads the file as the examples of each of `tasks`. */
async function readAs(tasks: readonly Task[], file: string, text: string): Promise<Outcome> {
  let outcome: Outcome = "refused";
  for (const task of tasks) {
    const fs = memoryFolder({ [file]: text });
    const examples = await unlessRefused(() => readExamples(task, `${FOLDER}/${file}`, fs), isModelError);
    if (!examples) continue;
    outcome = "accepted";
    assert.ok(examples.length > 0);
    for (const { context, choices, answer } of examples) {
      assert.equal(typeof context, "string");
      assert.ok(choices.every((choice) => typeof choice === "string") && choices.length > 0);
      assert.ok(Number.isInteger(answer) && answer >= 0 && answer < choices.length, `answer ${answer}`);
    }
  }
  return outcome;
}

const lines = (await Promise.all(["arc", "arc_hub", "lambada", "piqa", "storycloze"].map(async (name) => {
  const text = await Deno.readTextFile(new URL(`${name}.jsonl`, FIXTURES));
  return text.trim().split("\n").slice(0, 2).map((line) => JSON.parse(line));
}))).flat();
const rows = (await Deno.readTextFile(new URL("storycloze.csv", FIXTURES))).split("\n").slice(0, 3).join(
  "\n",
);

describe("fuzzing the files of zero-shot tasks", () => {
  const line = damagedJson(lines, 2).map((value) => JSON.stringify(value));
  const jsonl = fc.array(line, { minLength: 1, maxLength: 2 }).map((lines) => lines.join("\n"));
  fuzz(
    "examples in JSON Lines",
    fc.oneof(jsonl, damagedText(jsonl)),
    (text) => readAs(TASKS, "x.jsonl", text),
  );

  fuzz(
    "examples in CSV",
    damagedText(fc.constant(rows)),
    (text) => readAs([findTask("storycloze")], "x.csv", text),
  );
});
