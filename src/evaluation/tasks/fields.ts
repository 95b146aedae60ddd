/** Schemas of fields that several tasks share. */

import { z } from "zod";

/** A text that is not empty. */
export const text = z.string().min(1, "must not be empty");

/** One of `values`, as a number or as decimal digits, as in CSV and label files. */
export function oneOf(...values: readonly number[]) {
  return z.union([z.number(), z.string()], { error: "must be a number" })
    .transform((value) => typeof value === "string" && /^\d+$/.test(value.trim()) ? Number(value) : value)
    .refine((value) => values.some((one) => one === value), `must be ${values.join(" or ")}`)
    .transform(Number);
}
