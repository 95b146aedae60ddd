/**
 * Tests the journal of a run, a file with one line per finished step. Its lines must be read back, and an
 * incomplete last line must be ignored.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { Journal, type JournalEntry } from "../../../src/prune/run/journal.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

const START: JournalEntry = { type: "start", time: "2026-01-01T00:00:00.000Z", seconds: 0.5 };
const COMPLETE: JournalEntry = { type: "complete", files: { "config.json": "7f" } };
const ALLOCATION: JournalEntry = {
  type: "allocation",
  name: "owl",
  sparsities: { "0.fc1.weight": 0.30000000000000004, "0.fc2.weight": 1 / 3 },
  notes: ["A measurement."],
  seconds: 2,
};

/** Opens the journal at `path`, appends `entries`, and returns all entries. */
async function open(path: string, ...entries: JournalEntry[]): Promise<readonly JournalEntry[]> {
  const journal = await Journal.open(path, denoFileSystem);
  try {
    for (const entry of entries) await journal.append(entry);
    return journal.entries;
  } finally {
    await journal.close();
  }
}

describe("Journal", () => {
  it("returns the entries that were appended, however often it is opened", () =>
    withTemporaryFolder(async (folder) => {
      const path = `${folder}/journal`;
      assert.deepEqual(await open(path), []);
      await open(path, START);
      assert.deepEqual(await open(path, START, COMPLETE), [START, START, COMPLETE]);
      assert.deepEqual(await open(path), [START, START, COMPLETE]);
      await open(path, ALLOCATION);
      assert.deepEqual((await open(path)).at(-1), ALLOCATION);
    }));

  it("discards a last line that was cut off at any byte, and appends after the line before it", () =>
    withTemporaryFolder(async (folder) => {
      const path = `${folder}/journal`;
      await open(path, COMPLETE, START);
      const whole = await Deno.readFile(path);
      const first = whole.indexOf(10) + 1;
      for (let length = first; length < whole.byteLength; length++) {
        await Deno.writeFile(path, whole.subarray(0, length));
        assert.deepEqual(await open(path, COMPLETE), [COMPLETE, COMPLETE], `${length} bytes`);
        assert.deepEqual(await open(path), [COMPLETE, COMPLETE], `${length} bytes, opened again`);
        assert.deepEqual(await open(path, START), [COMPLETE, COMPLETE, START]);
      }
    }));

  it("discards a last line whose bytes the disk did not store", () =>
    withTemporaryFolder(async (folder) => {
      const path = `${folder}/journal`;
      await open(path, START);
      const zeros = new Uint8Array(40);
      zeros[39] = 10;
      await Deno.writeFile(path, zeros, { append: true });
      assert.deepEqual(await open(path, COMPLETE), [START, COMPLETE]);
    }));

  it("ignores the lines from the first damaged one on, and says which line is damaged", () =>
    withTemporaryFolder(async (folder) => {
      const path = `${folder}/journal`;
      await open(path, START, ALLOCATION, START, COMPLETE);
      const text = await Deno.readTextFile(path), lines = text.split("\n").slice(0, 4);
      const damages: readonly (readonly [what: string, damaged: readonly string[], intact: number])[] = [
        ["a changed line", [lines[0], lines[1].replace("0.3", "0.4"), ...lines.slice(2)], 1],
        ["a missing line", [lines[0], ...lines.slice(2)], 1],
        ["a missing first line", lines.slice(1), 0],
        ["a line without its digest", [lines[0], '{"type":"discard","layers":[]}', ...lines.slice(1)], 1],
        ["a repeated line", [lines[0], lines[1], lines[1], ...lines.slice(2)], 2],
        ["lines in another order", [lines[0], lines[2], lines[1], lines[3]], 1],
        ["two lines in one", [lines[0], lines[1] + lines[2], lines[3]], 1],
      ];
      for (const [what, damaged, intact] of damages) {
        await Deno.writeTextFile(path, damaged.map((line) => `${line}\n`).join(""));
        const journal = await Journal.open(path, denoFileSystem);
        await journal.close();
        assert.deepEqual(journal.entries, [START, ALLOCATION].slice(0, intact), what);
        assert.equal(journal.damagedLine, intact + 1, what);
        assert.deepEqual(
          await open(path, COMPLETE),
          [...[START, ALLOCATION].slice(0, intact), COMPLETE],
          what,
        );
      }
    }));
});
