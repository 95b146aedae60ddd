/**
 * A profile: a JSON list of rules that give some layers parameters of their own, or leave them out,
 * `[{ "match": "fc2", "sparsity": 0.3 }, { "match": "*.layers.0.*", "skip": true }]`. Later rules win.
 */

import { z } from "zod";
import { layerQuerySchema } from "../protocol/parameters.ts";
import { messageOf } from "../text/message_of.ts";

/** What a layer cannot have of its own: its statistics are the run's, and its place in the checkpoint has a dtype. */
const NOT_IN_PROFILES = ["hessian", "dtype"];

const PARAMETERS = Object.keys(layerQuerySchema.shape).filter((name) => !NOT_IN_PROFILES.includes(name));

/** One rule. */
export interface ProfileRule {
  /** As `matcher` takes it. */
  readonly match: string;
  /** true leaves the layers out; false takes an earlier `skip` back. */
  readonly skip?: boolean;
  /** By the HTTP contract's names, in its forms: checked where they are settled, beside those of the run. */
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
}

const value = z.union([z.string(), z.number(), z.boolean()]);

const ruleSchema = z.strictObject({
  match: z.string().min(1),
  skip: z.boolean().optional(),
  ...Object.fromEntries(PARAMETERS.map((name) => [name, value.optional()])),
}).transform(({ match, skip, ...parameters }): ProfileRule => ({
  match,
  skip,
  parameters: Object.fromEntries(
    Object.entries(parameters).filter(([, given]) => given !== undefined),
  ) as ProfileRule["parameters"],
}));

/** The rules in a profile's text. @throws {RangeError} it is not JSON, or not rules: names each fault and where it is */
export function parseProfile(text: string): ProfileRule[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    const reason = messageOf(cause);
    throw new RangeError(`profile: is not valid JSON: ${reason}`, { cause });
  }
  const parsed = z.array(ruleSchema).safeParse(json);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `rule ${path.join(".")}: ${message}`);
  throw new RangeError(`profile: ${faults.join("; ")}`);
}
