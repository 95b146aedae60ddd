/** Measures the size of an image by packing its files. */

import { run } from "./commands.ts";

/** The size of an image in bytes. */
export interface ImageSize {
  /** The files as an uncompressed archive. */
  readonly bytes: number;
  /** The archive compressed by gzip, as a registry stores and transfers it. */
  readonly compressedBytes: number;
}

const PIPE = 'tar -C "$1" --numeric-owner --exclude="./dev/*" --exclude="./proc/*" --exclude="./sys/*" -c . ';

/** Packs the files in `root`, and counts the bytes. */
export async function measureSize(root: string): Promise<ImageSize> {
  const count = async (filter: string) => Number(await run(["sh", "-c", PIPE + filter, "sh", root]));
  return { bytes: await count("| wc -c"), compressedBytes: await count("| gzip -6 | wc -c") };
}
