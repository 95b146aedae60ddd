/**
 * Measures how much time the edge adds to solving a layer. The edge is Pare's Cloudflare Worker in front of the GPU hosts. One
 * layer is solved in three ways: by a request to a host, by a request to the edge that passes it on to the host, and by uploading
 * the layer to the edge and submitting a durable job. Each round measures the three ways in turn, so that other load on the
 * machine affects all of them. A round fails unless the three reports agree.
 */

import type { Bench } from "./bench.ts";
import { integer } from "../../src/cli/options/common_options.ts";
import { Jobs } from "../../src/client/jobs/jobs.ts";
import { Uploads } from "../../src/client/jobs/uploads.ts";
import type { Report } from "../../src/protocol/messages.ts";
import { type EdgeWithHost, startEdgeWithHost } from "../processes/edge_with_host.ts";
import { halfPrecisionLayer, parseSizes, type Size } from "./measure/layer_file.ts";
import { postLayer, requireSameReports } from "./measure/post_layer.ts";
import { medians } from "./measure/statistics.ts";
import { type Column, formatPercent, formatSize, markdownTable } from "./report/markdown_table.ts";

/** The medians of one layer size. Times are in seconds. */
interface EdgeResult {
  readonly rows: number;
  readonly cols: number;
  readonly bodyBytes: number;
  readonly rounds: number;
  /** The time of factorisation and solve together, as the host reports it for the direct request. */
  readonly solve: number;
  /** The time of `POST /v1/layers` at the host, from the first byte sent to the last byte received. */
  readonly direct: number;
  readonly through: number;
  readonly job: JobSeconds;
}

interface JobSeconds {
  /** The time to compute the digest, send the parts, and wait for the edge to check the digest. */
  readonly upload: number;
  /** The time from submitting the job until the client sees that it is done. The client asks every `POLL_MS` milliseconds. */
  readonly job: number;
  readonly fetch: number;
  readonly total: number;
}

interface Round extends Pick<EdgeResult, "direct" | "through" | "solve"> {
  readonly job: JobSeconds;
}

const POLL_MS = 50;
const QUERY = { sparsity: 0.5, error: false } as const;
const QUERY_STRING = "sparsity=0.5&error=false";

interface EdgeResults {
  readonly layers: readonly EdgeResult[];
}

const COLUMNS: readonly Column<EdgeResult>[] = [
  ["rows × cols", formatSize],
  ["body MB", (r) => (r.bodyBytes / 1e6).toFixed(1)],
  ["factor + solve s", (r) => formatSeconds(r.solve)],
  ["to the host s", (r) => formatSeconds(r.direct)],
  ["MB/s", (r) => bodyRate(r, r.direct)],
  ["through the edge s", (r) => formatSeconds(r.through)],
  ["MB/s", (r) => bodyRate(r, r.through)],
  ["the edge adds", (r) => formatPercent(r.through / r.direct - 1)],
  ["upload s", (r) => formatSeconds(r.job.upload)],
  ["MB/s", (r) => bodyRate(r, r.job.upload)],
  ["job s", (r) => formatSeconds(r.job.job)],
  ["answer s", (r) => formatSeconds(r.job.fetch)],
  ["upload + job + answer s", (r) => formatSeconds(r.job.total)],
];

interface EdgeOptions {
  readonly sizes: readonly Size[];
  readonly repeat: number;
}

export const bench: Bench<EdgeOptions, EdgeResults> = {
  description: "the time that the edge (Pare's Cloudflare Worker) adds to a request",
  options: (command) =>
    command
      .option("--sizes <list>", "comma-separated ROWSxCOLS", parseSizes, parseSizes("2048x2048,4096x4096"))
      .option("--repeat <n>", "timed rounds for each size, after one that is not timed", integer(1), 5),
  async measure({ backend, sizes, repeat }, { scratch: folder, save }) {
    // The body limit is lifted, so that no layer of the bench is refused for its size.
    const vars = { EDGE_BODY_LIMIT: String(Number.MAX_SAFE_INTEGER) };
    await using pair = await startEdgeWithHost({ backend, folder, vars });
    const layers: EdgeResult[] = [];
    for (const [rows, cols] of sizes) layers.push(await benchEdge(pair, rows, cols, repeat));
    await save(pair.host, { layers });
    return { layers };
  },
  // Each MB/s is the size of the body divided by the seconds in the column before it.
  tables: { edge: ({ layers }) => markdownTable(COLUMNS, layers) },
};

/** Measures one size in `rounds` rounds, after one round that is not counted. @throws {Error} if the three reports differ */
export async function benchEdge(
  pair: EdgeWithHost,
  rows: number,
  cols: number,
  rounds: number,
): Promise<EdgeResult> {
  const body = halfPrecisionLayer(rows, cols), measured: Round[] = [];
  for (let round = 0; round <= rounds; round++) {
    changeLastWeight(body, round);
    const result = await measureRound(pair, body);
    if (round > 0) measured.push(result);
  }
  return { rows, cols, bodyBytes: body.length, rounds, ...medians(measured) };
}

async function measureRound({ edge, host }: EdgeWithHost, body: Uint8Array<ArrayBuffer>): Promise<Round> {
  const direct = await postLayer(host, body, QUERY_STRING);
  const through = await postLayer(edge, body, QUERY_STRING);
  const job = await measureJob(edge.url, body);
  requireSameReports([direct.report, through.report, job.report]);
  const { factor, solve } = direct.report.seconds;
  return {
    direct: direct.wallSeconds,
    through: through.wallSeconds,
    job: job.seconds,
    solve: factor + solve,
  };
}

async function measureJob(
  baseUrl: string,
  body: Uint8Array<ArrayBuffer>,
): Promise<{ readonly seconds: JobSeconds; readonly report: Report }> {
  const jobs = new Jobs({ baseUrl }), started = performance.now();
  const weight = await new Uploads({ baseUrl }).uploadBlob(body), uploaded = performance.now();
  const { id } = await jobs.submit([{ name: "layer", weight, parameters: QUERY }]);
  for await (const layer of jobs.follow(id, { pollMs: POLL_MS })) {
    if (layer.error) throw new Error(`job ${id}: ${layer.error.code}: ${layer.error.detail}`);
    const done = performance.now();
    const { report } = await jobs.result(layer), fetched = performance.now();
    const seconds = (from: number, to: number) => (to - from) / 1000;
    return {
      report,
      seconds: {
        upload: seconds(started, uploaded),
        job: seconds(uploaded, done),
        fetch: seconds(done, fetched),
        total: seconds(started, fetched),
      },
    };
  }
  throw new Error(`job ${id}: it ended without a result for its layer`);
}

/**
 * Changes the low byte of the last weight in `body`, so that each round sends a different layer. An unchanged body would not
 * be uploaded again, because the edge already stores it.
 */
function changeLastWeight(body: Uint8Array<ArrayBuffer>, round: number): void {
  body[body.length - 2] = round;
}

function formatSeconds(seconds: number): string {
  return seconds.toFixed(3);
}

function bodyRate({ bodyBytes }: EdgeResult, seconds: number): string {
  return (bodyBytes / 1e6 / seconds).toFixed(0);
}
