/** Tests how the files of named texts are read, with stand-ins for the files of the hub. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { denoFileSystem as fs } from "../../../src/cli/files/deno_file_system.ts";
import { encodeText, loadTokenizer } from "../../../src/model/tokenizer/tokenizer.ts";
import { gzipLines } from "../../../src/prune/texts/gzip_lines.ts";
import { parseTextReference } from "../../../src/prune/texts/named_texts.ts";
import { readParquetColumn } from "../../../src/prune/texts/parquet_column.ts";
import { namedCalibrationWindows, namedEvaluationTokens } from "../../../src/prune/texts/read_named_text.ts";
import { assertSame } from "../../support/assert_same.ts";
import { OPT_SOTU } from "../../support/opt_sotu.ts";
import { c4File, documentText, ROWS_FILE } from "./named_files.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";

const folder = temporaryFolder();
const tokenizer = await loadTokenizer(OPT_SOTU, fs);

async function file(name: string, bytes: Uint8Array): Promise<string> {
  await Deno.writeFile(`${folder}/${name}`, bytes);
  return `${folder}/${name}`;
}

describe("parseTextReference()", () => {
  it("tells names, files and files that are read as a named text from each other", () => {
    assert.deepEqual(parseTextReference("c4"), { name: "c4", path: undefined });
    assert.deepEqual(parseTextReference("wikitext2=a=b.parquet"), { name: "wikitext2", path: "a=b.parquet" });
    for (const path of ["./c4", "c4.txt", "a=b.txt", "c4=", ""]) {
      assert.deepEqual(parseTextReference(path), { path });
    }
  });
});

describe("gzipLines()", () => {
  it("yields the lines of all members, also if chunks divide them, and the last one without a newline", async () => {
    const lines = Array.from({ length: 3000 }, (_, i) => `${i} ${"é".repeat(i % 700)}`);
    const path = await file("lines.gz", gzipSync(lines.join("\n")));
    const found = await Array.fromAsync(gzipLines(fs, path), (line) => new TextDecoder().decode(line));
    assertSame(found, lines);
  });

  it("refuses a file that is not gzip or incomplete, and names it", async () => {
    const whole = gzipSync("text\n".repeat(1000));
    for (const bytes of [new TextEncoder().encode("text\n"), whole.subarray(0, whole.length - 9)]) {
      const path = await file("bad.gz", bytes);
      await assert.rejects(Array.fromAsync(gzipLines(fs, path)), {
        name: "ModelError",
        message: new RegExp(`^${path}: is not a complete gzip file`),
      });
    }
  });

  it("refuses a very long line without reading all of it", async () => {
    const path = await file("long.gz", gzipSync(new Uint8Array(2 ** 27).fill(65)));
    await assert.rejects(Array.fromAsync(gzipLines(fs, path)), /has a line of more than/);
  });
});

describe("readParquetColumn()", () => {
  it("returns the rows that pyarrow wrote, with their newlines", async () => {
    const rows = await readParquetColumn(fs, ROWS_FILE, "text");
    assert.equal(rows.length, 40 * 9);
    assert.deepEqual(rows.slice(9, 13), [
      "",
      " = Heading 1 = \n",
      "",
      " Sentence 0 of paragraph 1 says that café no. 0 is open , and <unk> is not . \n",
    ]);
  });

  it("refuses another column and a damaged file", async () => {
    await assert.rejects(readParquetColumn(fs, ROWS_FILE, "other"), { name: "ModelError" });
    const bytes = await Deno.readFile(ROWS_FILE);
    for (const damaged of [bytes.subarray(0, 1000), new Uint8Array(100), new Uint8Array()]) {
      const path = await file("damaged.parquet", damaged);
      await assert.rejects(readParquetColumn(fs, path, "text"), {
        name: "ModelError",
        message: new RegExp(`^${path}: is not a Parquet file that can be read`),
      });
    }
  });
});

describe("the calibration windows of c4", () => {
  const words = Array.from({ length: 400 }, (_, i) => i % 10 === 0 ? 60 : 5),
    long = words.filter((n) => n === 60).length;
  const windowsOf = async (samples: number, seed: number, file: string) =>
    await namedCalibrationWindows(tokenizer, "c4", file, { samples, seqlen: 40, seed }, fs);

  it("come from different documents that are longer than a window, at places that the seed chooses", async () => {
    const path = await file("c4.json.gz", c4File(words));
    const documents = words.map((count, i) => encodeText(tokenizer, documentText(i, count), "txt").join(" "));
    const windows = await windowsOf(long, 7, path);
    const starts = windows.map((window) => {
      assert.equal(window.length, 40);
      const found = documents.map((text, i) => ` ${text} `.includes(` ${window.join(" ")} `) ? i : -1);
      return found.filter((i) => i >= 0);
    });
    assert.ok(starts.every((found) => found.length > 0));
    assert.deepEqual(windows, await windowsOf(long, 7, path));
    assert.notDeepEqual(windows, await windowsOf(long, 8, path));
  });

  it("are chosen from the whole file, although only few candidates are in memory", async () => {
    const rare = Array.from({ length: 4000 }, (_, i) => i % 400 === 399 ? 60 : 30);
    const path = await file("rare.json.gz", c4File(rare));
    // The number of a document is in its first tokens, so a window of nearly the whole document has it.
    const texts = new Set<string>();
    const tokens = rare.flatMap((count, i) =>
      count === 60 ? [encodeText(tokenizer, documentText(i, 60), "txt")] : []
    );
    const seqlen = Math.min(...tokens.map(({ length }) => length)) - 1;
    const windows = await namedCalibrationWindows(
      tokenizer,
      "c4",
      path,
      { samples: 10, seqlen, seed: 0 },
      fs,
    );
    for (const window of windows) texts.add(tokenizer.decode([...window]).match(/^\D*(\d+) \./)?.[1] ?? "");
    assert.equal(windows.length, 10);
    assert.equal(texts.size, 10);
  });

  it("are refused if too few documents are long enough, and the error names the file", async () => {
    const path = await file("short.json.gz", c4File(words));
    await assert.rejects(windowsOf(long + 1, 0, path), {
      name: "ModelError",
      message: `${path}: has ${long} documents with more than 40 tokens, but ${long + 1} windows need ${
        long + 1
      }`,
    });
  });

  it("are refused if a chosen line is not a document", async () => {
    const path = await file("bad.json.gz", gzipSync(`{"txt":"${"x ".repeat(100)}"}\n`.repeat(3)));
    await assert.rejects(windowsOf(1, 0, path), {
      name: "ModelError",
      message: /bad\.json\.gz: line 1: must be/,
    });
  });
});

describe("the other named texts", () => {
  it("join the rows of wikitext2 by blank lines for an evaluation, and by spaces for a calibration", async () => {
    const rows = await readParquetColumn(fs, ROWS_FILE, "text");
    assertSame(
      await namedEvaluationTokens(tokenizer, "wikitext2", ROWS_FILE, 32, fs),
      encodeText(tokenizer, rows.join("\n\n"), "txt"),
    );
    const options = { samples: 3, seqlen: 32, seed: 0 };
    const windows = await namedCalibrationWindows(tokenizer, "wikitext2", ROWS_FILE, options, fs);
    const all = encodeText(tokenizer, rows.join(" "), "txt").join(" ");
    assert.ok(windows.every((window) => window.length === 32 && all.includes(window.join(" "))));
  });

  it("join the first 1100 documents of c4 by spaces, and keep 256 windows", async () => {
    const words = Array.from({ length: 1200 }, () => 5),
      path = await file("validation.json.gz", c4File(words));
    const text = words.slice(0, 1100).map((count, i) => documentText(i, count)).join(" ");
    const tokens = await namedEvaluationTokens(tokenizer, "c4", path, 32, fs);
    assertSame(tokens, encodeText(tokenizer, text, "txt").subarray(0, 256 * 32));
  });
});
