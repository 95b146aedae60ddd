/** Tests readExamples(), which reads zero-shot examples from the published file formats, and its errors for malformed files. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { readExamples } from "../../../src/model/evaluation/read_examples.ts";
import { findTask } from "../../../src/model/evaluation/tasks.ts";
import { taskFile } from "../../support/tasks.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

const read = (task: string, file: string, limit?: number) =>
  readExamples(findTask(task), taskFile(file), denoFileSystem, limit);

describe("readExamples", () => {
  it("reads the same examples from both forms of a data set", async () => {
    const withoutLocation = async (task: string, file: string) =>
      (await read(task, file)).map(({ context, choices, answer }) => ({ context, choices, answer }));
    for (
      const [task, one, other] of [
        ["arc_easy", "arc.jsonl", "arc_hub.jsonl"],
        ["storycloze", "storycloze.csv", "storycloze.jsonl"],
        ["piqa", "piqa.jsonl", "piqa_valid.jsonl"],
      ] as const
    ) assert.deepEqual(await withoutLocation(task, one), await withoutLocation(task, other), task);
  });

  it("records the line of each example, counting blank lines", async () => {
    const locations = (await read("lambada", "lambada.jsonl")).map(({ location }) => location);
    assert.deepEqual(
      locations.map((location) => location.slice(-7)),
      ["line 1", "line 2", "line 4", "line 5", "line 6"].map((
        line,
      ) => ` ${line}`),
    );
    assert.ok(locations.every((location) => location.startsWith(taskFile("lambada.jsonl"))));
    assert.match((await read("storycloze", "storycloze.csv"))[1].location, /: line 3$/);
  });

  it("reads at most the requested number of examples", async () => {
    assert.equal((await read("lambada", "lambada.jsonl", 2)).length, 2);
    assert.equal((await read("lambada", "lambada.jsonl", 99)).length, 5);
  });

  it("uses the word after the last space of a passage as the choice", async () => {
    const [, , , , last] = await read("lambada", "lambada.jsonl");
    assert.deepEqual(last.choices, ["naïveté"]);
    assert.ok(last.context.endsWith("café—then she whispered:"));
  });
});

/** Malformed files: a description for the test's title, the task, the file's name and text, and the expected error. */
const MALFORMED:
  readonly (readonly [description: string, task: string, file: string, text: string, message: RegExp])[] = [
    ["an empty file", "lambada", "t.jsonl", "", /t\.jsonl: has no examples$/],
    ["a file of blank lines", "lambada", "t.jsonl", "\n \n", /t\.jsonl: has no examples$/],
    [
      "a CSV file without rows",
      "storycloze",
      "t.csv",
      "InputSentence1,InputSentence2\n",
      /t\.csv: has no examples$/,
    ],
    [
      "a line that is not JSON",
      "lambada",
      "t.jsonl",
      '{"text": "a b"}\n{"text"',
      /t\.jsonl: line 2: is not valid JSON/,
    ],
    ["a line that is not an object", "lambada", "t.jsonl", "[1]", /line 1: .*object/],
    ["a line without a required field", "lambada", "t.jsonl", '\n{"txt": "a b"}', /line 2: field text: /],
    [
      "a passage of one word",
      "lambada",
      "t.jsonl",
      '{"text": "alone"}',
      /line 1: field text: must have at least two words/,
    ],
    [
      "a passage that ends in a space",
      "lambada",
      "t.jsonl",
      '{"text": "a b "}',
      /line 1: field text: must not end with a space/,
    ],
    [
      "a label out of range",
      "piqa",
      "t.jsonl",
      '{"goal": "g", "sol1": "a", "sol2": "b", "label": 2}',
      /line 1: field label: must be 0 or 1/,
    ],
    [
      "an empty choice",
      "piqa",
      "t.jsonl",
      '{"goal": "g", "sol1": "", "sol2": "b", "label": 0}',
      /line 1: field sol1: must not be empty/,
    ],
    [
      "lines without labels and no label file",
      "piqa",
      "t.jsonl",
      '{"goal": "g", "sol1": "a", "sol2": "b"}',
      /no line has the field label, and .*t-labels\.lst cannot be read/,
    ],
    [
      "an answer that is not a label",
      "arc_easy",
      "t.jsonl",
      '{"question": "q", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "B"}',
      /line 1: field answerKey: must be the label of a choice \(A\), got B/,
    ],
    [
      "fewer labels than choices",
      "arc_easy",
      "t.jsonl",
      '{"question": "q", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"}',
      /line 1: field choices: must have one label per text/,
    ],
    [
      "a choice without text",
      "arc_easy",
      "t.jsonl",
      '{"question": {"stem": "q", "choices": [{"label": "A"}]}, "answerKey": "A"}',
      /line 1: field question\.choices\.0\.text: /,
    ],
    [
      "a CSV row with too few columns",
      "storycloze",
      "t.csv",
      "a,b\n1,2\n3\n",
      /t\.csv: is not valid CSV: .*line 3/,
    ],
    ["a CSV file with other columns", "storycloze", "t.csv", "a,b\n1,2\n", /line 2: field InputSentence1: /],
  ];

describe("readExamples refuses", () => {
  for (const [description, task, file, text, message] of MALFORMED) {
    it(description, () =>
      withTemporaryFolder(async (folder) => {
        await Deno.writeTextFile(`${folder}/${file}`, text);
        const reading = readExamples(findTask(task), `${folder}/${file}`, denoFileSystem);
        await assert.rejects(reading, { name: "ModelError", message });
      }));
  }

  it("a label file that has more lines than the file of examples", () =>
    withTemporaryFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/t.jsonl`, '{"goal": "g", "sol1": "a", "sol2": "b"}\n');
      await Deno.writeTextFile(`${folder}/t-labels.lst`, "0\n1\n");
      await assert.rejects(readExamples(findTask("piqa"), `${folder}/t.jsonl`, denoFileSystem), {
        message: /t-labels\.lst: has 2 answers, but .*t\.jsonl has 1 examples/,
      });
    }));

  it("the name of an unknown task", () => {
    assert.throws(() => findTask("mmlu"), /task mmlu: is unknown; the known tasks are: lambada, piqa/);
  });
});
