/** Tests that the hand-written types of answers agree with the schemas by which servers describe the answers. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { z } from "zod";
import type { EdgeHost } from "../../src/protocol/answers/hosts.ts";
import type { Job, JobList } from "../../src/protocol/answers/jobs.ts";
import type { Report } from "../../src/protocol/answers/report.ts";
import type { CompletedUpload, Upload, UploadedPart } from "../../src/protocol/answers/uploads.ts";
import type { AliveHost } from "../../src/protocol/edge/hosts.ts";
import type { jobListSchema, jobSchema } from "../../src/protocol/edge/jobs.ts";
import type {
  completedSchema,
  completeRequestSchema,
  uploadSchema,
} from "../../src/protocol/edge/uploads.ts";
import type { reportSchema } from "../../src/protocol/report.ts";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;
/** The type without `readonly` and with its intersections resolved, at every depth. */
type Plain<T> = T extends object ? { -readonly [name in keyof T]: Plain<T[name]> } : T;
type Same<A, B> = Equal<Plain<A>, Plain<B>>;

/** Compiles only if each pair of types is equal. */
const typesAreEqual: [
  Same<Report, z.infer<typeof reportSchema>>,
  Same<Job, z.infer<typeof jobSchema>>,
  Same<JobList, z.infer<typeof jobListSchema>>,
  Same<Upload, z.infer<typeof uploadSchema>>,
  Same<UploadedPart, z.infer<typeof completeRequestSchema>["parts"][number]>,
  Same<CompletedUpload, z.infer<typeof completedSchema>>,
  Same<EdgeHost, Pick<AliveHost, keyof EdgeHost>>,
] = [true, true, true, true, true, true, true];

it("the types of answers have the names and types of the schemas", () => {
  assert.ok(typesAreEqual.every(Boolean));
});
