/** The answer of `GET /readyz`. */

import { z } from "zod";

/** Describes a server whose device can be used: its limits, and the current length of its queue. */
export const readySchema = z.object({
  status: z.literal("ready"),
  version: z.string(),
  backend: z.string(),
  adapter: z.object({ name: z.string(), software: z.boolean() }),
  limits: z.object({
    max_body_bytes: z.int(),
    max_features: z.int(),
    max_blocksize: z.int(),
    max_buffer_bytes: z.int(),
  }),
  self_check: z.object({ passed: z.literal(true), seconds: z.number() }).nullable().meta({
    description:
      "The check of every kernel before the device was first used. A device that fails it is not used. " +
      "Null if the program that opened the device did not check it",
  }),
  queue: z.object({ waiting: z.int(), resident: z.int() }),
}).meta({ id: "Ready" });

/** The answer of a server whose device can be used. */
export type Ready = z.infer<typeof readySchema>;
