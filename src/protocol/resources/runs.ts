/** `/v1/runs` at a host that prunes whole models. A run is the command `pare prune`, which the host starts and watches. */

import { z } from "zod";
import { JOB_STATES } from "../job_state.ts";
import { jobParametersSchema } from "../parameters.ts";
import type { RunOptionName } from "../run/options.ts";
import { parameterName, RUN_OPTION_NAMES, runOption } from "../run/run_options.ts";
import { described } from "./fields.ts";
import { json, JSON_PROBLEMS, NO_QUERY, type Operation } from "./operation.ts";

/** The largest body of `POST /v1/runs`, in bytes. It has room for the text of more than two million tokens. */
export const MAX_RUN_BYTES = 16 * 2 ** 20;

/** The options that a request cannot set: those of the folder, which is the host's, and those that need files or other servers. */
const HOST_OPTIONS: readonly string[] = [
  "profile",
  "activations",
  "overwrite",
  "restart",
  "plan",
  "remote",
] satisfies RunOptionName[];

/** Returns the schema of a member that may be absent. The command fills in its default. */
function optional(schema: z.ZodType, description?: string): z.ZodType {
  const value = schema instanceof z.ZodDefault ? schema.unwrap() as z.ZodType : schema;
  return value.optional().meta({ ...schema.meta(), ...description && { description } });
}

const { error: _error, dtype: _dtype, ...layerFields } = jobParametersSchema.shape;

/** The members that are options of the command of the same names. */
const OPTION_FIELDS: Record<string, z.ZodType> = {
  ...Object.fromEntries(Object.entries(layerFields).map(([name, schema]) => [name, optional(schema)])),
  ...Object.fromEntries(
    RUN_OPTION_NAMES.filter((name) => !HOST_OPTIONS.includes(name)).map((name) => {
      const { schema, help } = runOption(name);
      return [parameterName(name), optional(schema, help)];
    }),
  ),
  preset: z.string().regex(/^[a-z]+$/).optional().meta({ description: "The preset of `pare prune`" }),
  for: z.string().regex(/^[a-z0-9:_-]+$/).optional().meta({
    description: "Rounds to the grid of this format, and writes the result in it, such as gguf:q4_0",
    example: "gguf:q4_0",
  }),
};

/** The body of `POST /v1/runs`. */
export const runRequestSchema = z.strictObject({
  model: z.string().regex(/^[A-Za-z0-9][\w.-]*(\/[\w.-]+)?(@[\w./+-]+)?$/, {
    error: "must have the form OWNER/NAME or OWNER/NAME@REVISION, or be the name of a model of this host",
  }).meta({ description: "A model of the Hugging Face hub, or of the host's folder of models" }),
  calibration: z.string().min(1).optional().meta({
    description:
      "The calibration text itself. The last eighth of a text of 128 kB or more is not calibrated on: it measures the perplexities. Defaults to the text that comes with Pare",
  }),
  ...OPTION_FIELDS,
}).meta({ id: "RunRequest" });

export type RunRequest =
  & { readonly model: string; readonly calibration?: string; readonly for?: string }
  & Readonly<Record<string, unknown>>;

/** Returns a request as options of the command `pare prune`, without its model and text. */
export function runArguments(request: RunRequest): string[] {
  return Object.keys(OPTION_FIELDS).filter((name) => request[name] !== undefined).flatMap((name) => {
    const value = request[name], flag = `--${name.replaceAll("_", "-")}`;
    if (typeof value === "boolean") return value ? [flag] : [];
    return [value].flat().map((part) => `${flag}=${part}`);
  });
}

const runPlanSchema = z.object({
  layers: described(z.int(), "The number of layers to prune or to round"),
  seconds: described(z.number(), "The time from the start to the end"),
  memory_bytes: described(z.int(), "The memory of the process and of the device together"),
  disk_bytes: described(z.int(), "The disk space until the result is complete"),
  device: described(z.string(), "The backend and the adapter"),
}).meta({ id: "RunPlan", description: "The plan of a run, from a short measurement" });

const runProgressSchema = z.object({
  phase: described(z.string(), "Such as `fetching` or `pruning`"),
  done: described(z.int(), "The steps of the phase that are done"),
  total: described(z.int(), "The number of steps of the phase"),
  time_left: described(z.string().nullable(), "For people, such as `about 12 s left`"),
  detail: described(z.string(), "The current work, for people"),
}).meta({ id: "RunProgress", description: "The progress of a run" });

const runFileSchema = z.object({
  name: described(z.string(), "The path in the folder of the result"),
  bytes: described(z.int(), "The size of the file"),
}).meta({ id: "RunFile", description: "A file of the result" });

const runPerplexitySchema = z.object({
  dense: described(z.number().nullable(), "Null if it is not finite"),
  pruned: described(z.number().nullable(), "Null if it is not finite"),
  divergence: described(z.number().nullable(), "The Kullback-Leibler divergence from the dense model"),
}).meta({ id: "RunPerplexity", description: "The perplexities before and after" });

const runResultSchema = z.object({
  dense_bytes: described(z.int(), "The size of the weight files of the dense model"),
  written_bytes: described(z.int(), "The size of the weight files of the result"),
  seconds: described(z.number(), "The time of the run"),
  perplexity: described(runPerplexitySchema.nullable(), "Null if the text is too short for a window"),
  files: described(z.array(runFileSchema), "The files of the result"),
}).meta({ id: "RunResult", description: "The result of a run" });

/** The answer of `GET /v1/runs/:id`. */
export const runSchema = z.object({
  id: described(z.string(), "The id of the run"),
  model: described(z.string(), "The model, as the request names it"),
  options: described(z.array(z.string()), "The options of the command"),
  state: described(z.enum(JOB_STATES), "`done`, `failed` and `cancelled` are final"),
  created: described(z.iso.datetime(), "The time of the submission, in ISO 8601"),
  plan: described(z.union([runPlanSchema, z.null()]), "Null until the model is downloaded and measured"),
  progress: described(z.union([runProgressSchema, z.null()]), "Null unless the run works"),
  result: described(z.union([runResultSchema, z.null()]), "Null unless the state is `done`"),
  error: described(z.string().nullable(), "The reason of a failure, for people"),
}).meta({ id: "Run", description: "A run, which prunes or rounds a whole model" });

export type Run = z.output<typeof runSchema>;

const params = z.object({
  id: z.string().regex(/^[0-9a-f]{32}$/, { error: "must be 32 lowercase hexadecimal digits" }).meta({
    description: "The id of the run",
  }),
});

const PROBLEMS = ["invalid_parameter", "invalid_host", "not_found", "internal"] as const;

const run = { 200: { description: "The run", content: json(runSchema) } };

const shared = { tags: ["Runs"], scope: "runs" } as const satisfies Partial<Operation>;

export const START_RUN = {
  ...shared,
  method: "post",
  path: "/v1/runs",
  operationId: "startRun",
  summary: "Prune or round a whole model",
  description: "Starts a run of the command `pare prune`. One run works at a time, and the others wait.",
  request: {
    query: NO_QUERY,
    headers: z.object({
      "idempotency-key": z.string().min(1).max(256).optional().meta({
        description:
          "A repeated request with the same key and body finds the same run. The same key with another body is refused",
      }),
    }),
    body: { required: true, content: json(runRequestSchema) },
  },
  responses: {
    202: {
      description: "The run is queued, or existed already",
      headers: { Location: { description: "The path of the run", schema: { type: "string" } } },
      content: json(runSchema),
    },
  },
  problems: [
    ...PROBLEMS,
    ...JSON_PROBLEMS,
    "idempotency_conflict",
    "unsupported",
    "busy",
    "hub_unreachable",
    "shutting_down",
  ],
} satisfies Operation;

export const READ_RUN = {
  ...shared,
  method: "get",
  path: "/v1/runs/{id}",
  operationId: "readRun",
  summary: "Read a run",
  request: { params, query: NO_QUERY },
  responses: run,
  problems: [...PROBLEMS],
} satisfies Operation;

export const FOLLOW_RUN = {
  ...shared,
  method: "get",
  path: "/v1/runs/{id}/events",
  operationId: "followRun",
  summary: "Follow a run",
  description: "A stream of events `run`, whose data is a `Run`. It ends with the run.",
  request: { params, query: NO_QUERY },
  responses: {
    200: {
      description: "The events",
      content: { "text/event-stream": { schema: z.string() } },
    },
  },
  problems: [...PROBLEMS],
} satisfies Operation;

const bytes = { "application/octet-stream": { schema: z.string().meta({ format: "binary" }) } };

export const READ_RUN_FILE = {
  ...shared,
  method: "get",
  path: "/v1/runs/{id}/files/{name}",
  operationId: "readRunFile",
  summary: "Download a file of a run",
  request: {
    params: params.extend({
      name: z.string().min(1).max(256).meta({ description: "The name of a file of the result" }),
    }),
    query: NO_QUERY,
    headers: z.object({
      range: z.string().optional().meta({
        description: "One range, such as `bytes=1000-`. Other forms are ignored",
      }),
    }),
  },
  responses: {
    200: { description: "The file", content: bytes },
    206: {
      description: "A range of the file",
      headers: { "Content-Range": { description: "The range", schema: { type: "string" } } },
      content: bytes,
    },
  },
  problems: [...PROBLEMS],
} satisfies Operation;

export const DELETE_RUN = {
  ...shared,
  method: "delete",
  path: "/v1/runs/{id}",
  operationId: "deleteRun",
  summary: "Stop a run, and delete its files",
  request: { params, query: NO_QUERY },
  responses: { 204: { description: "The run is stopped, and its files are deleted" } },
  problems: [...PROBLEMS],
} satisfies Operation;
