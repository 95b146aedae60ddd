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
const COMPLETE: JournalEntry = { type: "complete" };
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

  it("rejects damage before the last line, and names the line", () =>
    withTemporaryFolder(async (folder) => {
      const path = `${folder}/journal`;
      await open(path, START, COMPLETE, COMPLETE);
      const text = await Deno.readTextFile(path);
      for (const damaged of [text.replace('"complete"', '"complet"'), text.replace("}\n{", "\n{")]) {
        await Deno.writeTextFile(path, damaged);
        await assert.rejects(open(path), { name: "ModelError", message: /journal: line [12] is damaged/ });
      }
    }));
});
