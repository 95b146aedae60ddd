/**
 * Parses profiles. A profile is a JSON list of rules, of which later ones override earlier ones:
 * `[{ "match": "fc2", "sparsity": 0.3 }, { "match": "*.layers.0.*", "skip": true }]`
 */

import { z } from "zod";
import { layerQuerySchema } from "../protocol/parameters.ts";
import { messageOf } from "../base/errors.ts";

/**
 * Parameters that a single layer cannot set. The run computes the statistics of every layer, so there is no `hessian`. There is no
 * `dtype`, because a weight has the dtype of the checkpoint.
 */
const NOT_IN_PROFILES = ["hessian", "dtype"];

const PARAMETERS = Object.keys(layerQuerySchema.shape).filter((name) => !NOT_IN_PROFILES.includes(name));

export interface ProfileRule {
  /** The pattern of the layer names, as in `compileNamePattern`. */
  readonly match: string;
  /** `true` leaves the layers dense. `false` chooses them, even if an earlier rule or a name pattern of the options excluded them. */
  readonly skip?: boolean;
  /** Parameters by their names in the HTTP contract. Their values are checked later, merged with the parameters of the run. */
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
}

const valueSchema = z.union([z.string(), z.number(), z.boolean()]);

const ruleSchema = z.strictObject({
  match: z.string().min(1),
  skip: z.boolean().optional(),
  ...Object.fromEntries(PARAMETERS.map((name) => [name, valueSchema.optional()])),
}).transform(({ match, skip, ...parameters }): ProfileRule => ({
  match,
  skip,
  parameters: Object.fromEntries(
    Object.entries(parameters).filter(([, value]) => value !== undefined),
  ) as ProfileRule["parameters"],
}));

/** Parses the text of a profile. @throws {RangeError} if it is not JSON or not a list of rules; names each faulty rule */
export function parseProfile(text: string): ProfileRule[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new RangeError(`profile: is not valid JSON: ${messageOf(cause)}`, { cause });
  }
  const parsed = z.array(ruleSchema).safeParse(json);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) =>
    path.length === 0 ? message : `rule ${path.join(".")}: ${message}`
  );
  throw new RangeError(`profile: ${faults.join("; ")}`);
}
