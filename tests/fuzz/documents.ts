/** Valid documents of the HTTP contract. The fuzz tests damage copies of them. */

const DIGEST = `sha256:${"0123456789abcdef".repeat(4)}`;

/** The report of a solve. */
export const REPORT = {
  method: "sparsegpt",
  rows: 4,
  cols: 8,
  pattern: "unstructured",
  sparsity: 0.5,
  zeros: 16,
  loss: 1.5,
  relative_error: 0.25,
  damping: 0.01,
  iterations: 0,
  refit_steps: 0,
  notes: ["a note"],
  backend: "cpu",
  adapter: "WebAssembly",
  seconds: { read: 0, factor: 0.1, solve: 0.2, refit: 0, total: 0.3 },
  factor_reused: false,
};

/** The body of `POST /v1/jobs`. */
export const JOB_REQUEST = {
  name: "a job",
  layers: [
    { name: "a", weight: DIGEST, hessian: DIGEST, parameters: { sparsity: 0.5, bits: 4 } },
    { name: "b", weight: DIGEST },
  ],
};

/** The body of `POST /v1/tasks`. */
export const TASK_REQUEST = {
  id: "task-1",
  weight: { url: "http://127.0.0.1:1/weight", sha256: DIGEST },
  hessian: { url: "http://127.0.0.1:1/hessian", sha256: DIGEST },
  result: { url: "http://127.0.0.1:1/result" },
  parameters: { sparsity: 0.5 },
};

/** The answer of `GET /v1/jobs/:id`. */
export const JOB = {
  id: "1-a",
  name: null,
  state: "done",
  created: "2026-01-01T00:00:00.000Z",
  ended: "2026-01-01T00:00:01.000Z",
  layers: [{
    name: "a",
    weight: DIGEST,
    hessian: null,
    parameters: { sparsity: 0.5, method: "sparsegpt", error: true },
    state: "done",
    attempts: 1,
    host: "h",
    report: REPORT,
    result: DIGEST,
    error: null,
  }],
};
