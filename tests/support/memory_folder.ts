/** A folder that exists only in memory, for parsers that read files. */

import { SparseFileSystem } from "./sparse_file_system.ts";

/** The path of the folder. */
export const FOLDER = "/model";

/** Returns a file system whose only folder has these files. A value that is neither a text nor bytes is written as JSON. */
export function memoryFolder(files: Readonly<Record<string, unknown>>): SparseFileSystem {
  const fs = new SparseFileSystem();
  for (const [name, content] of Object.entries(files)) {
    const textOf = () => typeof content === "string" ? content : JSON.stringify(content);
    fs.put(`${FOLDER}/${name}`, content instanceof Uint8Array ? content : new TextEncoder().encode(textOf()));
  }
  return fs;
}
