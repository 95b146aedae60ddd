/** The sizes of layers on the command line of a bench. */

import { InvalidArgumentError } from "commander";

/** The size of a layer. */
export type Size = readonly [rows: number, cols: number];

/** Parses a comma-separated list of sizes such as `768x768,768x3072`. @throws {InvalidArgumentError} if an entry is not ROWSxCOLS */
export function parseSizes(list: string): Size[] {
  return list.split(",").filter((size) => size !== "").map((size) => {
    const [, rows, cols] = /^(\d+)x(\d+)$/.exec(size) ?? [];
    if (!Number(rows) || !Number(cols)) throw new InvalidArgumentError(`${size} is not ROWSxCOLS`);
    return [Number(rows), Number(cols)];
  });
}
