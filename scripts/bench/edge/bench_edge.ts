/**
 * One layer three ways: to the host, to the host through the edge, and as an upload and a job of the edge. The ways take turns, so that
 * what else the machine does falls on all of them; the answers must be the same before any time counts.
 */

import { Jobs } from "../../../src/client/jobs/jobs.ts";
import { Uploads } from "../../../src/client/jobs/uploads.ts";
import type { Report } from "../../../src/protocol/report.ts";
import type { EdgeWithHost } from "../../edge_with_host.ts";
import { solveOver } from "../host.ts";
import { median } from "../statistics.ts";
import { edgeLayer, vary } from "./layer.ts";

/** Medians, in seconds. */
export interface EdgeResult {
  readonly rows: number;
  readonly cols: number;
  /** Of the request. */
  readonly bodyBytes: number;
  readonly rounds: number;
  /** What the host takes to factor and solve, by its report. */
  readonly solve: number;
  /** `POST /v1/layers`, from the first byte sent to the last received. */
  readonly direct: number;
  readonly through: number;
  readonly job: JobSeconds;
}

/** The steps of an upload and a job, and their sum. */
export interface JobSeconds {
  /** The digest, the parts, and the edge's check of the digest. */
  readonly upload: number;
  /** From its submission until it is known to be done, by asking every `POLL_MS`. */
  readonly job: number;
  /** The answer's bytes. */
  readonly fetch: number;
  readonly total: number;
}

/** What a round measures. */
interface Round extends Pick<EdgeResult, "direct" | "through" | "solve"> {
  readonly job: JobSeconds;
}

const POLL_MS = 50;
const QUERY = { sparsity: 0.5, error: false } as const;
const QUERY_STRING = "sparsity=0.5&error=false";

/** Measures one size, after a round that does not count. @throws {Error} the three answers differ */
export async function benchEdge(
  pair: EdgeWithHost,
  rows: number,
  cols: number,
  rounds: number,
): Promise<EdgeResult> {
  const body = edgeLayer(rows, cols), measured: Round[] = [];
  for (let round = 0; round <= rounds; round++) {
    vary(body, round);
    const result = await measureRound(pair, body);
    if (round > 0) measured.push(result);
  }
  const middle = (of: (round: Round) => number) => median(measured.map(of));
  return {
    rows,
    cols,
    bodyBytes: body.length,
    rounds,
    solve: middle((round) => round.solve),
    direct: middle((round) => round.direct),
    through: middle((round) => round.through),
    job: {
      upload: middle((round) => round.job.upload),
      job: middle((round) => round.job.job),
      fetch: middle((round) => round.job.fetch),
      total: middle((round) => round.job.total),
    },
  };
}

async function measureRound({ edge, host }: EdgeWithHost, body: Uint8Array<ArrayBuffer>): Promise<Round> {
  const direct = await solveOver(host, body, QUERY_STRING);
  const through = await solveOver(edge, body, QUERY_STRING);
  const job = await measureJob(edge.url, body);
  checkSame([direct.report, through.report, job.report]);
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
  throw new Error(`job ${id}: it ended without telling of its layer`);
}

function checkSame(reports: readonly Report[]): void {
  const answers = reports.map(({ zeros, loss }) => `${zeros} zeros, loss ${loss}`);
  if (new Set(answers).size > 1) throw new Error(`the answers differ: ${answers.join("; ")}`);
}
