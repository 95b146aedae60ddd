/** Reads a column of texts from a file in the format Parquet, in which the hub stores WikiText2. */

import { parquetReadObjects } from "hyparquet";
import type { FileSystem } from "../../base/files/file_system.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { messageOf } from "../../base/errors.ts";

/** The largest accepted file in bytes. The training split of WikiText2 has 6 MB. */
const MAX_BYTES = 2 ** 27;

/**
 * Returns the texts in the column `column`, in the order of the rows.
 * @throws {ModelError} if the file is larger than 128 MiB or malformed, or if a row has no text in the column
 */
export async function readParquetColumn(fs: FileSystem, path: string, column: string): Promise<string[]> {
  const file = await fs.open(path);
  try {
    const { byteLength } = file;
    if (byteLength > MAX_BYTES) {
      throw new ModelError(`${path}: has ${byteLength} bytes, at most ${MAX_BYTES} are read`);
    }
    const slice = async (start: number, end = byteLength) => (await file.read(start, end - start)).buffer;
    const rows = await parquetReadObjects({ file: { byteLength, slice }, columns: [column] }).catch(
      (cause) => {
        throw new ModelError(`${path}: is not a Parquet file that can be read: ${messageOf(cause)}`, {
          cause,
        });
      },
    );
    return rows.map((row, number) => {
      const text: unknown = row[column];
      if (typeof text === "string") return text;
      throw new ModelError(`${path}: row ${number} has no text in the column ${column}`);
    });
  } finally {
    await file.close();
  }
}
