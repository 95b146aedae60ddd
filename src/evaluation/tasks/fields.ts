/** Schemas for fields of data sets. Several tasks use them. */

import { z } from "zod";

/** The schema of a text that is not empty. */
export const text = z.string().min(1, "must not be empty");

/**
 * The schema of one of `values`. It accepts a number, or a string of its decimal digits, as CSV files and
 * files of answers have it.
 */
export function oneOf(...values: readonly number[]) {
  return z.union([z.number(), z.string()], { error: "must be a number" })
    .transform((value) => typeof value === "string" && /^\d+$/.test(value.trim()) ? Number(value) : value)
    .refine((value) => values.some((allowed) => allowed === value), `must be ${values.join(" or ")}`)
    .transform(Number);
}
