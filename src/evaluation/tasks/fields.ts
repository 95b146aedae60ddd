/** Field types that several tasks share. */

import { z } from "zod";

/** Text that is not empty. */
export const text = z.string().min(1, "must not be empty");

/** One of `values`: a number, or its decimal digits as CSV and label files have them. */
export function oneOf(...values: readonly number[]) {
  return z.union([z.number(), z.string()], { error: "must be a number" })
    .transform((value) => typeof value === "string" && /^\d+$/.test(value.trim()) ? Number(value) : value)
    .refine((value) => values.some((one) => one === value), `must be ${values.join(" or ")}`)
    .transform(Number);
}
