/** The schemas of fields that several messages or parameters have. */

import { z } from "zod";

/** The descriptions of members that only the types of the SDK show, because their names suffice in OpenAPI. */
export const SDK_TEXTS = z.registry<{ description: string }>();

/** Returns `schema` with a description for the SDK only. */
export function described<T extends z.ZodType>(schema: T, description: string): T {
  const copy = schema.clone();
  SDK_TEXTS.add(copy, { description });
  return copy;
}

/** The schema of a digest as text. */
export const digestSchema = z.string().regex(/^sha256:[0-9a-f]{64}$/, {
  error: 'must be "sha256:" and 64 lowercase hexadecimal digits',
}).meta({ description: "sha-256 of a body", example: "sha256:" + "0".repeat(64) });

/** Accepts the ids that servers send to each other. They are safe in URLs, logs and headers. */
export const idSchema = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/);

// No two repetitions can match the same digits. Otherwise the time would grow with the square of the number of digits.
const DECIMAL = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i;

/** Returns a schema for numbers that fit `schema`, also as decimal text, because a query string has only text. */
export function numeric<T extends z.ZodType>(schema: T) {
  return z.preprocess(
    (value) => typeof value === "string" && DECIMAL.test(value) ? Number(value) : value,
    schema,
  );
}
