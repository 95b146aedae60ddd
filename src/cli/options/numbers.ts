/** Parses numbers on the command line strictly. `12abc`, `1e3` and an empty text are not integers. */

import { InvalidArgumentError } from "commander";

/**
 * Returns a parser of decimal integers from `least` to `most`. The parser throws an InvalidArgumentError, which commander
 * reports together with the option and its value.
 */
export function integer(least: number, most: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (!(value >= least && value <= most)) {
      const range = most === Number.MAX_SAFE_INTEGER ? `of ${least} or more` : `from ${least} to ${most}`;
      throw new InvalidArgumentError(`It must be an integer ${range}.`);
    }
    return value;
  };
}
