/** Tests the checks of the answers that the client reads, beside the schemas from which they were generated. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import type * as z from "zod/mini";
import { parseAnswer } from "../../src/client/answers/parse_answer.ts";
import {
  receivedCompletedUpload,
  receivedJob,
  receivedJobList,
  receivedReport,
  receivedUpload,
} from "../../src/protocol/received.ts";
import { jobListSchema, jobSchema } from "../../src/protocol/resources/jobs.ts";
import { completedSchema, uploadSchema } from "../../src/protocol/resources/uploads.ts";
import { reportSchema } from "../../src/protocol/resources/layers.ts";
import { report } from "./fake_host.ts";

const DIGEST = "sha256:" + "0".repeat(64), CREATED = "2026-01-01T00:00:00.000Z";

const LAYER = {
  name: "fc1",
  weight: DIGEST,
  hessian: null,
  parameters: { method: "alps", sparsity: 0.5, error: true },
  state: "done",
  attempts: 1,
  host: "host-1",
  report: report(8, 16),
  result: DIGEST,
  error: null,
};

const HEAD = { id: "job-1", name: null, state: "done", created: CREATED, ended: CREATED };

const COUNTS = { queued: 0, running: 0, done: 1, failed: 0, cancelled: 0 };

/** Each answer with the schema of the servers and the schema of the client. */
const ANSWERS = {
  "a report": [reportSchema, receivedReport, report(8, 16)],
  "a job": [jobSchema, receivedJob, { ...HEAD, layers: [LAYER] }],
  "a list of jobs": [jobListSchema, receivedJobList, { jobs: [{ ...HEAD, layers: COUNTS }], cursor: null }],
  "an upload": [uploadSchema, receivedUpload, {
    upload: "u",
    part_size: 5,
    parts: [{ number: 1, url: "http://bucket/1" }],
    expires: CREATED,
  }],
  "a completed upload": [completedSchema, receivedCompletedUpload, { blob: DIGEST }],
} as const;

for (const [name, [ofServers, ofClient, answer]] of Object.entries(ANSWERS)) {
  const read = (value: unknown) =>
    parseAnswer(
      ofClient as z.ZodMiniType<unknown>,
      new TextEncoder().encode(JSON.stringify(value)),
      "/v1/x",
      name,
    );

  describe(name, () => {
    it("that a server may send is read with all its members", () => {
      const sent = ofServers.parse(answer);
      assert.deepEqual(read(sent), sent);
    });

    it("may have further members, which a later version of the contract may add", () => {
      assert.deepEqual(read({ ...answer, later: 1 }), ofServers.parse(answer));
    });

    for (const missing of Object.keys(answer)) {
      if (name === "a report" && ["iterations", "refit_steps", "notes"].includes(missing)) continue;
      it(`is malformed without ${missing}`, () => {
        assert.throws(() => read({ ...answer, [missing]: undefined }), {
          name: "MalformedAnswerError",
          message: `answer of /v1/x: is not ${name}`,
        });
      });
    }
  });
}
