/** Stand-ins for the files of named texts. They have the formats of the files on the hub. */

import { fileURLToPath } from "node:url";
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";

/** A file with 360 rows in the format of WikiText2, which pyarrow wrote (`scripts/fixtures/make_parquet_fixture.py`). */
export const ROWS_FILE = fileURLToPath(new URL("../../fixtures/texts/rows.parquet", import.meta.url));

/** Returns the text of document `i`. It starts with its number, and has `words` more words. */
export function documentText(i: number, words: number): string {
  return `Document ${i} .` + " the state of the union".repeat(words / 5);
}

/**
 * Returns a file in the format of C4 with one document per entry of `words`, which says how long it is. The file has two members of gzip,
 * as some writers make them.
 */
export function c4File(words: readonly number[]): Uint8Array<ArrayBuffer> {
  const lines = words.map((count, i) =>
    JSON.stringify({
      text: documentText(i, count),
      timestamp: "2019-04-25T12:57:54Z",
      url: `https://x/${i}`,
    }) + "\n"
  );
  const half = Math.ceil(lines.length / 2);
  const members = [lines.slice(0, half), lines.slice(half)].map((part) => gzipSync(part.join("")));
  return new Uint8Array(Buffer.concat(members));
}
