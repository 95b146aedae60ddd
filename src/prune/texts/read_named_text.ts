/** Reads named texts as the code published with SparseGPT reads them. */

import type { Tokenizer } from "@huggingface/tokenizers";
import { calibrationWindows } from "../../layer/calibration/windows.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { encodeText, readDocument } from "../../model/tokenizer/tokenizer.ts";
import { type DocumentWindows, documentWindows } from "./document_windows.ts";
import { gzipLines } from "./gzip_lines.ts";
import type { TextName } from "./named_texts.ts";
import { readParquetColumn } from "./parquet_column.ts";

/** The column of the texts in the Parquet files of the hub. */
const TEXT_COLUMN = "text";

/** The number of documents of C4 on which the published code measures, and the largest number of windows. */
const C4_DOCUMENTS = 1100, C4_WINDOWS = 256;

/** Returns calibration windows of a named text. @throws {ModelError} if the file is malformed or too short */
export async function namedCalibrationWindows(
  tokenizer: Tokenizer,
  name: TextName,
  path: string,
  windows: DocumentWindows,
  fs: FileSystem,
): Promise<Uint32Array[]> {
  if (name === "c4") {
    return await withPath(path, () => documentWindows(() => gzipLines(fs, path), tokenizer, windows));
  }
  const rows = await readParquetColumn(fs, path, TEXT_COLUMN);
  const { samples, seqlen, seed } = windows;
  return calibrationWindows(encodeText(tokenizer, rows.join(" "), "txt"), { windows: samples, seqlen, seed });
}

/** Returns the tokens of a named text on which perplexities are measured. @throws {ModelError} if the file is malformed */
export async function namedEvaluationTokens(
  tokenizer: Tokenizer,
  name: TextName,
  path: string,
  seqlen: number,
  fs: FileSystem,
): Promise<Uint32Array> {
  if (name === "wikitext2") {
    return encodeText(tokenizer, (await readParquetColumn(fs, path, TEXT_COLUMN)).join("\n\n"), "txt");
  }
  const documents: string[] = [], decoder = new TextDecoder();
  for await (const line of gzipLines(fs, path)) {
    const number = documents.length + 1;
    documents.push(await withPath(path, () => readDocument(decoder.decode(line), number)));
    if (documents.length === C4_DOCUMENTS) break;
  }
  if (documents.length === 0) throw new ModelError(`${path}: has no documents`);
  return encodeText(tokenizer, documents.join(" "), "txt").subarray(0, C4_WINDOWS * seqlen);
}

/** Adds the path of the file to the errors of `read`. */
async function withPath<T>(path: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof ModelError) || error.message.startsWith(path)) throw error;
    throw new ModelError(`${path}: ${error.message}`, { cause: error });
  }
}
