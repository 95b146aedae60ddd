/**
 * Measures how much time a client adds to a request: the Python client with NumPy arrays and with torch tensors, the
 * TypeScript SDK, and a bare HTTP request that decodes nothing. All of them prune the same layer at the same host. Each round
 * measures all clients in turn, so that other load on the machine affects all of them. A round fails unless the reports agree.
 * The bench needs `deno task venv`.
 */

import { fileURLToPath } from "node:url";
import { integer } from "../../src/cli/options/common_options.ts";
import { Pare } from "../../src/client/pare.ts";
import { searchParamsOf } from "../../src/protocol/search_params.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { VENVS } from "../peers/venv.ts";
import { startHost } from "../processes/child_host.ts";
import { LineProcess } from "../processes/line_process.ts";
import type { Bench } from "./bench.ts";
import { halfPrecisionLayer, parseSizes, type Size } from "./measure/layer_file.ts";
import { postLayer, requireSameReports, type TimedAnswer } from "./measure/post_layer.ts";
import { median, percentile } from "./measure/statistics.ts";
import { type Column, formatSize, markdownTable } from "./report/markdown_table.ts";

/** The medians of one client. Times are in seconds. */
interface ClientResult {
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
interface StatisticsResult {
  readonly rows: number;
  readonly cols: number;
  /** Whether the statistics are sent with each layer, or are stored at the host with their factor. */
  readonly statistics: "sent" | "stored";
  readonly bodyBytes: number;
  readonly rounds: number;
  readonly clients: readonly ClientResult[];
}

interface ClientsResults {
  /** The load average of the minute before the bench. Other programs on the machine make all times longer. */
  readonly loadAverage: number;
  readonly layers: readonly StatisticsResult[];
}

/** One client, and the layer that it sends. */
type Row = Omit<StatisticsResult, "clients"> & ClientResult;

const COLUMNS: readonly Column<Row>[] = [
  ["rows × cols", formatSize],
  ["statistics", ({ statistics }) => statistics],
  ["body MB", ({ bodyBytes }) => (bodyBytes / 1e6).toFixed(1)],
  ["client", ({ client }) => client],
  ["request ms", ({ wall }) => formatMilliseconds(wall)],
  ["host ms", ({ host }) => formatMilliseconds(host)],
  ["overhead ms", ({ overhead }) => formatMilliseconds(overhead)],
  ["90 % below ms", ({ overhead90 }) => formatMilliseconds(overhead90)],
];

interface ClientsOptions {
  readonly sizes: readonly Size[];
  readonly repeat: number;
}

export const bench: Bench<ClientsOptions, ClientsResults> = {
  description: "the time that the Python client and the TypeScript SDK add to a request",
  options: (command) =>
    command
      .option("--sizes <list>", "comma-separated ROWSxCOLS", parseSizes, parseSizes("768x768"))
      .option("--repeat <n>", "timed requests of each client, after five that are not timed", integer(1), 30),
  async measure({ sizes, repeat, backend }, { save }) {
    const [loadAverage] = Deno.loadavg();
    await using host = await startHost(["--backend", backend]);
    const layers: StatisticsResult[] = [];
    for (const [rows, cols] of sizes) layers.push(...await benchClients(host, rows, cols, repeat));
    await save(host, { loadAverage, layers });
    return { loadAverage, layers };
  },
  tables: {
    clients: ({ layers }) =>
      markdownTable(
        COLUMNS,
        layers.flatMap((layer) => layer.clients.map((client) => ({ ...layer, ...client }))),
      ),
  },
};

/** The rounds that are not counted. */
const WARM_UP_ROUNDS = 5;

/** The parameters of the layer. `python_client.py` has the same. */
const QUERY = { sparsity: 0.5, error: false } as const;

/**
 * Measures one layer of F16 weights in `rounds` rounds, for both ways to give the statistics.
 * @throws {Error} if the reports of a round differ
 */
async function benchClients(
  host: { readonly url: string },
  rows: number,
  cols: number,
  rounds: number,
): Promise<StatisticsResult[]> {
  const body = halfPrecisionLayer(rows, cols);
  const { weight, hessian_upper } = Object.fromEntries(decode(body).tensors);
  const pare = new Pare({ baseUrl: host.url }), digest = await pare.putHessian(hessian_upper);
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => Deno.remove(path));
  await Deno.writeFile(path, body);
  const python = startPython(host.url, path);
  cleanup.defer(() => python.stop());
  const results: StatisticsResult[] = [];
  for (const statistics of ["stored", "sent"] as const) {
    const isSent = statistics === "sent";
    const tensors = isSent ? { weight, hessian_upper } : { weight };
    const query = isSent ? QUERY : { ...QUERY, hessian: digest };
    const bare = isSent ? body : encode({ weight });
    const pruneInPython = async (library: string): Promise<TimedAnswer> =>
      JSON.parse(await python.ask(`${library} ${statistics}`));
    const clients = await measureClients({
      "Python, NumPy": () => pruneInPython("numpy"),
      "Python, torch": () => pruneInPython("torch"),
      "TypeScript SDK": async () => {
        const started = performance.now();
        const { report } = await pare.pruneLayer(tensors, query);
        return { report, wallSeconds: (performance.now() - started) / 1000 };
      },
      "bare request": () => postLayer(host, bare, String(searchParamsOf(query))),
    }, rounds);
    results.push({ rows, cols, statistics, bodyBytes: bare.length, rounds, clients });
  }
  return results;
}

/** Starts a process that prunes the layer of the file `path` with the Python client whenever it is sent a line. */
function startPython(url: string, path: string): LineProcess {
  const script = fileURLToPath(new URL("python/python_client.py", import.meta.url));
  const env = {
    PYTHONPATH: fileURLToPath(new URL("../../src/python", import.meta.url)),
    OMP_NUM_THREADS: "1",
  };
  return new LineProcess(VENVS.readers.python, ["-B", script, url, path], { env });
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
    requireSameReports(inRound.map(({ report }) => report));
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

function formatMilliseconds(seconds: number): string {
  return (1000 * seconds).toFixed(1);
}
