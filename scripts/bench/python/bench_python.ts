/**
 * Measures how much time a client adds to a request: the Python client with NumPy arrays and with torch
 * tensors, the TypeScript SDK, and a bare HTTP request that decodes nothing. All of them prune the same layer
 * at the same host. Each round measures all clients in turn, so that other load on the machine affects all of
 * them. A round fails unless the reports agree.
 */

import { Pare } from "../../../src/client/pare.ts";
import type { LayerTensors } from "../../../src/client/layer_file.ts";
import { layerSearchParams } from "../../../src/protocol/layer_query.ts";
import { decode } from "../../../src/safetensors/decode.ts";
import { encode } from "../../../src/safetensors/encode.ts";
import { edgeLayer } from "../edge/edge_layer.ts";
import { postLayer, type TimedAnswer } from "../measure/post_layer.ts";
import { median, percentile } from "../measure/statistics.ts";
import { startPython } from "./python_process.ts";

/** The medians of one client. Times are in seconds. */
export interface ClientResult {
  readonly client: string;
  /**
   * The time of the whole call, from its start until the tensors of the answer can be used. For the bare
   * request it is the time from the first byte sent to the last byte received.
   */
  readonly wall: number;
  /** The time from the start of the request to the start of the answer, as the host reports it (`seconds.total`). */
  readonly host: number;
  /**
   * The difference of the two times of each request. It contains the conversion of the tensors, the
   * transfer of the answer, and the transfer of the request as far as the host does not see it.
   */
  readonly overhead: number;
  /** The overhead that 90 % of the requests do not exceed. */
  readonly overhead90: number;
}

/** The results of one way to give the statistics. */
export interface PythonResult {
  readonly rows: number;
  readonly cols: number;
  /** Whether the statistics are sent with each layer, or are stored at the host with their factor. */
  readonly statistics: "sent" | "stored";
  readonly bodyBytes: number;
  readonly rounds: number;
  readonly clients: readonly ClientResult[];
}

/** The rounds that are not counted. */
const WARM_UP_ROUNDS = 5;

/** The parameters of the layer. `python_client.py` has the same. */
const QUERY = { sparsity: 0.5, error: false } as const;

/**
 * Measures one layer of F16 weights in `rounds` rounds, for both ways to give the statistics.
 * @throws {Error} if the reports of a round differ
 */
export async function benchPython(
  host: { readonly url: string },
  rows: number,
  cols: number,
  rounds: number,
): Promise<PythonResult[]> {
  const body = edgeLayer(rows, cols);
  const { weight, hessian_upper } = Object.fromEntries(decode(body).tensors);
  const pare = new Pare({ baseUrl: host.url }), digest = await pare.putHessian(hessian_upper);
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    await Deno.writeFile(path, body);
    await using python = startPython(host.url, path);
    const results: PythonResult[] = [];
    for (const statistics of ["stored", "sent"] as const) {
      const isSent = statistics === "sent";
      const tensors = isSent ? { weight, hessian_upper } : { weight };
      const query = isSent ? QUERY : { ...QUERY, hessian: digest };
      const bare = isSent ? body : encode({ weight });
      const clients = await measureClients({
        "Python, NumPy": () => python.prune("numpy", statistics),
        "Python, torch": () => python.prune("torch", statistics),
        "TypeScript SDK": () => pruneWithSdk(pare, tensors, query),
        "bare request": () => postLayer(host, bare, String(layerSearchParams(query))),
      }, rounds);
      results.push({ rows, cols, statistics, bodyBytes: bare.length, rounds, clients });
    }
    return results;
  } finally {
    await Deno.remove(path);
  }
}

async function pruneWithSdk(
  pare: Pare,
  tensors: LayerTensors,
  query: Parameters<Pare["pruneLayer"]>[1],
): Promise<TimedAnswer> {
  const started = performance.now();
  const { report } = await pare.pruneLayer(tensors, query);
  return { report, wallSeconds: (performance.now() - started) / 1000 };
}

async function measureClients(
  clients: Readonly<Record<string, () => Promise<TimedAnswer>>>,
  rounds: number,
): Promise<ClientResult[]> {
  const answers = new Map<string, TimedAnswer[]>(Object.keys(clients).map((client) => [client, []]));
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    const inRound: TimedAnswer[] = [];
    for (const [client, prune] of Object.entries(clients)) {
      const answer = await prune();
      inRound.push(answer);
      if (round >= 0) answers.get(client)!.push(answer);
    }
    requireSameReports(inRound);
  }
  return [...answers].map(([client, measured]) => {
    const overheads = measured.map(({ wallSeconds, report }) => wallSeconds - report.seconds.total);
    return {
      client,
      wall: median(measured.map(({ wallSeconds }) => wallSeconds)),
      host: median(measured.map(({ report }) => report.seconds.total)),
      overhead: median(overheads),
      overhead90: percentile(overheads, 90),
    };
  });
}

function requireSameReports(answers: readonly TimedAnswer[]): void {
  const summaries = answers.map(({ report: { zeros, loss } }) => `${zeros} zeros, loss ${loss}`);
  if (new Set(summaries).size > 1) throw new Error(`the answers differ: ${summaries.join("; ")}`);
}
