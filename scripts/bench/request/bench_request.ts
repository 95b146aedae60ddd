/** Measures where the time of one request goes, between the call of the SDK and the decoded answer, stage by stage. */

import { decodeAnswer, maxAnswerBytes } from "../../../src/client/answers/layer_answer.ts";
import { encodeParts, type LayerTensors } from "../../../src/client/layer_file.ts";
import { Pare } from "../../../src/client/pare.ts";
import { Transport } from "../../../src/client/transport.ts";
import { type LayerQuery, layerSearchParams } from "../../../src/protocol/layer_query.ts";
import { decode } from "../../../src/safetensors/decode.ts";
import { edgeLayer } from "../edge/edge_layer.ts";
import { median, percentile } from "../measure/statistics.ts";
import { type ClientStages, type HostStages, now, SOLVE_STAGE, stageDurations } from "./stages.ts";

/**
 * The lower quartiles for one layer size, in milliseconds. Other programs on the machine only add time, so fast requests show
 * the time of the request itself.
 */
export interface RequestResult {
  readonly rows: number;
  readonly cols: number;
  readonly statistics: "sent" | "stored";
  readonly rounds: number;
  /** The lower quartile of each stage, in the order of the stages. */
  readonly stages: Readonly<Record<string, number>>;
  /** The whole call. */
  readonly wall: number;
  /** The whole call without the solve. */
  readonly overhead: number;
  readonly medianOverhead: number;
}

const QUERY = { sparsity: 0.5, error: false } as const;

/** The most requests that are sent before those that are counted. */
const WARM_UP_ROUNDS = 5;

/** Measures `rounds` requests for one layer of F16 weights, with stored statistics and then with statistics in the request. */
export async function benchRequest(
  host: { readonly url: string },
  rows: number,
  cols: number,
  rounds: number,
): Promise<RequestResult[]> {
  const { weight, hessian_upper } = Object.fromEntries(decode(edgeLayer(rows, cols)).tensors);
  const digest = await new Pare({ baseUrl: host.url }).putHessian(hessian_upper);
  const results: RequestResult[] = [];
  for (const statistics of ["stored", "sent"] as const) {
    const tensors = statistics === "sent" ? { weight, hessian_upper } : { weight };
    const query = statistics === "sent" ? QUERY : { ...QUERY, hessian: digest };
    const requests: Record<string, number>[] = [];
    for (let round = -Math.min(WARM_UP_ROUNDS, Math.ceil(rounds / 2)); round < rounds; round++) {
      const client = await pruneLayer(host.url, tensors, query);
      const stages: HostStages = await (await fetch(`${host.url}/stages`)).json();
      if (round >= 0) requests.push(stageDurations(client, stages));
    }
    results.push({ rows, cols, statistics, rounds, ...summarise(requests) });
  }
  return results;
}

/** Prunes a layer as `Pare.pruneLayer` does, and records when each stage was reached. */
async function pruneLayer(baseUrl: string, tensors: LayerTensors, query: LayerQuery): Promise<ClientStages> {
  let sent = 0, headers = 0;
  const transport = new Transport({
    baseUrl,
    async fetch(request) {
      sent = now();
      const response = await fetch(request);
      headers = now();
      return response;
    },
  });
  const start = now();
  const answer = await transport.send({
    method: "POST",
    path: "/v1/layers",
    query: layerSearchParams(query),
    body: encodeParts(tensors),
    maxAnswerBytes: maxAnswerBytes(query, tensors.weight),
  });
  const body = now();
  decodeAnswer(answer, { query, tensors });
  return { start, fetch: sent, headers, body, end: now() };
}

function summarise(requests: readonly Record<string, number>[]) {
  const walls = requests.map((stages) => sum(Object.values(stages)));
  const overheads = requests.map((stages, i) => walls[i] - stages[SOLVE_STAGE]);
  const stages = Object.fromEntries(
    Object.keys(requests[0]).map((name) => [name, quartile(requests.map((request) => request[name]))]),
  );
  return { stages, wall: quartile(walls), overhead: quartile(overheads), medianOverhead: median(overheads) };
}

function quartile(figures: readonly number[]): number {
  return percentile(figures, 25);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
