/**
 * The operations of `/v1/states/{name}` and `/v1/blocks`. The states are the hidden states of all calibration windows
 * before a block of a model. A host does the steps of a run on the block that a client sends. After the last step it has the states
 * before the next block.
 */

import { z } from "zod";
import { HIDDEN_STATES, PRUNED, TRAINED } from "../blocks/block_names.ts";
import { MAX_EPOCHS, MAX_MODEL_LAYERS, PART_WINDOWS } from "../limits.ts";
import { flag, integer, jobParametersSchema, oneOf } from "../parameters.ts";
import type { ProblemCode } from "../problem_codes.ts";
import { SENT_FIELDS } from "../run/run_options.ts";
import { TENSOR_PROBLEMS } from "./layers.ts";
import { json, NO_QUERY, type Operation } from "./operation.ts";
import { SAFETENSORS_CONTENT, safetensorsBody, tensorTable } from "./tensors.ts";
import {
  BLOCK_ANSWER_TENSORS,
  BLOCK_TENSORS,
  STATES_TENSORS,
  SUMS_ANSWER_TENSORS,
  SUMS_REQUEST_TENSORS,
} from "./block_tensors.ts";
import { idSchema } from "./fields.ts";

const path = "/v1/states/{name}" as const;

const nameSchema = idSchema.meta({
  description: "The name of the states. Each API key has names of its own",
});

const params = z.object({ name: nameSchema });

const storedSchema = z.object({
  next_block: z.int().meta({ description: "The block whose inputs the states are" }),
  windows: z.int().meta({ description: "The number of all windows, with those that are held out" }),
  tokens: z.int().meta({ description: "The number of tokens in a window" }),
}).meta({ id: "StoredStates", description: "Stored hidden states" });

const LOOKUP_PROBLEMS = [
  "invalid_parameter",
  "invalid_host",
  "states_not_found",
  "internal",
  "no_device",
  "device_lost",
  "shutting_down",
] as const satisfies ProblemCode[];

export const FIND_STATES = {
  method: "get",
  path,
  operationId: "findStates",
  summary: "Find stored hidden states",
  tags: ["Blocks"],
  scope: "solve",
  request: { params, query: NO_QUERY },
  responses: { 200: { description: "The states are stored", content: json(storedSchema) } },
  problems: LOOKUP_PROBLEMS,
} satisfies Operation;

export const CREATE_STATES = {
  method: "put",
  path,
  operationId: "createStates",
  summary: "Create the hidden states before a block",
  description:
    "Computes the hidden states of all windows before the first block, or takes those in the body, and stores them in the place of earlier states of this name. If " +
    "the host has no memory for them, it evicts first the earlier ones, and then the states that were not used for the longest time. The metadata of the file has the " +
    "`config.json` of the model under the name `config`, and may have the names of the tensors of block 0, a JSON list, under `names`.",
  tags: ["Blocks"],
  scope: "solve",
  request: {
    params,
    query: z.strictObject({
      block: integer(0, MAX_MODEL_LAYERS).default(0).meta({
        description: `The block whose inputs \`${HIDDEN_STATES}\` are. It is 0 for token ids`,
      }),
      target: oneOf("none", "dense").default("none").meta({
        description:
          "dense stores the states of the dense model too, which run through each block before it is pruned. The layers then have targets",
      }),
    }),
    body: safetensorsBody(tensorTable(STATES_TENSORS)),
  },
  responses: { 201: { description: "The states are stored", content: json(storedSchema) } },
  problems: TENSOR_PROBLEMS,
} satisfies Operation;

export const DELETE_STATES = {
  method: "delete",
  path,
  operationId: "deleteStates",
  summary: "Delete hidden states",
  tags: ["Blocks"],
  scope: "solve",
  request: { params, query: NO_QUERY },
  responses: { 204: { description: "The states are deleted" } },
  problems: LOOKUP_PROBLEMS,
} satisfies Operation;

/** The parameters of `POST /v1/states/{name}/sums`. */
const sumsQuerySchema = z.strictObject({
  layer: z.string().min(1).meta({ description: "The name of the weight of a layer in the block" }),
});

export const ADD_SUMS = {
  method: "post",
  path: `${path}/sums`,
  operationId: "addSums",
  summary: "Add stored sums to the sums of earlier windows",
  description:
    "For a run whose windows are divided over several hosts. `POST /v1/blocks/collect` stores the statistics of each part of " +
    `${PART_WINDOWS} windows. This request adds them in order to the statistics in the body, which are the sums of all earlier windows, and ` +
    "answers the sums. The body of the first host has no sums. The answer of the last host has the statistics of all windows, with the " +
    "same bytes for any number of hosts, if each host has a multiple of this number of windows, except for the last one. If the layers " +
    "have targets, the last host also gets their weights, and answers the targets.",
  tags: ["Blocks"],
  scope: "solve",
  request: { params, query: sumsQuerySchema, body: safetensorsBody(tensorTable(SUMS_REQUEST_TENSORS)) },
  responses: {
    200: {
      description: `The sums, a safetensors file.\n\n${tensorTable(SUMS_ANSWER_TENSORS)}`,
      content: SAFETENSORS_CONTENT,
    },
  },
  problems: [...TENSOR_PROBLEMS, "states_not_found"],
} satisfies Operation;

/** The layers of a request, in the metadata of its body: the parameters of each layer by the name of its weight. */
export const blockLayersSchema = z.record(z.string(), jobParametersSchema);

/** Returns the operation `POST /v1/blocks/KIND`. @param answer describes the metadata and the tensors of the answer */
function blockStep<Kind extends string, Shape extends z.ZodRawShape>(
  kind: Kind,
  operationId: string,
  { summary, description, parameters, answer }: {
    readonly summary: string;
    readonly description: string;
    readonly parameters: Shape;
    readonly answer: string;
  },
) {
  const query = z.strictObject({
    states: nameSchema,
    block: integer(0, MAX_MODEL_LAYERS).meta({ description: "The index of the block, from 0" }),
    ...parameters,
  });
  return {
    method: "post",
    path: `/v1/blocks/${kind}` as const,
    operationId,
    summary,
    description: `${description} The states must be those before the block.`,
    tags: ["Blocks"],
    scope: "solve",
    request: { query, body: safetensorsBody(tensorTable(BLOCK_TENSORS)) },
    responses: {
      200: {
        description: "A safetensors file. Its metadata has an object as JSON under the name `block`, whose " +
          `\`layers\` are a list. ${answer}`,
        content: SAFETENSORS_CONTENT,
      },
    },
    problems: [...TENSOR_PROBLEMS, "states_not_found", "not_positive_definite", "unsupported"],
  } as const satisfies Operation;
}

const HELD_OUT_ERROR = "`error` is the error of the output of the block on the held-out windows.";

/** The operations on a block, which are the steps of a run, with the parameters of each step. */
export const BLOCK_STEPS = {
  prune: blockStep("prune", "pruneBlock", {
    summary: "Prune one block of a model",
    description:
      "Runs the states through the block in the body, adds up the statistics of its layers, prunes the layers, and runs the states " +
      "through the pruned block. The metadata of the body has the layers to prune under the name `layers`: an object that maps the names " +
      "of weights to the parameters of `POST /v1/layers`, without `hessian`. If the device fails while it changes the states, they are " +
      "deleted. A repeated request gets the same answer.",
    parameters: {
      advance: flag.default(true).meta({
        description:
          "Whether the states then run through the pruned block, so that they are those before the next block",
      }),
      ...SENT_FIELDS,
    },
    answer:
      "It has the `name`, the `report` and, for an expert, the number of `tokens` of each layer. `decision` says whether the layers have " +
      `targets, and \`reconstructed\` describes the reconstruction. ${HELD_OUT_ERROR}\n\n` +
      tensorTable(BLOCK_ANSWER_TENSORS),
  }),
  collect: blockStep("collect", "collectBlock", {
    summary: "Store the statistics of the layers of a block",
    description:
      "Runs the states through the block, and stores the statistics of the layers that the metadata of the body names under `layers`, for " +
      "`POST /v1/states/{name}/sums`. The only parameter of a layer that counts is `token_weights`. The states do not change.",
    parameters: {
      targets: flag.default(true).meta({
        description:
          "With states of target=dense: whether the moments are stored from which the targets of the layers follow",
      }),
    },
    answer:
      "`sums` has the `name` of each layer, and the numbers of `tokens` and `validation_tokens` in its statistics.",
  }),
  train: blockStep("train", "trainBlock", {
    summary: "Train a pruned block",
    description:
      "Trains the block with its tensors `pruned.*`, so that its output comes near to the output of the dense block. The states do not change.",
    parameters: {
      epochs: integer(1, MAX_EPOCHS).meta({ description: "The number of epochs" }),
    },
    answer:
      `\`reconstructed\` describes the reconstruction. The tensors \`${TRAINED}*\` are the tensors of the block that it has changed.`,
  }),
  measure: blockStep("measure", "measureBlock", {
    summary: "Measure the error of a pruned block",
    description:
      "Measures the error of the output of the block with its tensors `pruned.*` on the held-out windows, of which there must be " +
      "some. The states do not change.",
    parameters: {
      against: oneOf("block", "model").default("block").meta({
        description:
          "The outputs with which the outputs of the pruned block are compared. block is the dense block with the same inputs, and model is the " +
          "block in the dense model, which needs states with target=dense",
      }),
    },
    answer: HELD_OUT_ERROR,
  }),
  run: blockStep("run", "runBlock", {
    summary: "Run the states through a block",
    description:
      "Runs the states through the block, so that they become the states before the next block. The tensors `pruned.*` replace tensors of the block, " +
      "except for the states of the dense model. If the device fails meanwhile, the states are deleted. A repeated request gets the same " +
      "answer.",
    parameters: {},
    answer: `Only with tensors \`${PRUNED}*\` and held-out windows: ${HELD_OUT_ERROR}`,
  }),
};

type BlockSteps = typeof BLOCK_STEPS;

/** A step on a block, and its parameters. */
export type BlockStep = {
  readonly [Kind in keyof BlockSteps]:
    & { readonly kind: Kind }
    & z.output<BlockSteps[Kind]["request"]["query"]>;
}[keyof BlockSteps];

export type PruneStep = Extract<BlockStep, { kind: "prune" }>;
