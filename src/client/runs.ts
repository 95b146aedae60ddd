/** The runs of a host, which prune or round whole models. A run continues if this client ends. */

import { growingDelays, sleep } from "../base/waiting.ts";
import type { Run, RunFile } from "../protocol/messages.ts";
import { hasEnded } from "../protocol/job_state.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import { receivedRun } from "../protocol/received.ts";
import { parseAnswer } from "./answers/parse_answer.ts";
import { MalformedAnswerError } from "./errors.ts";
import { DEFAULT_POLL_MS } from "./jobs/follow_job.ts";
import { type FollowOptions, randomKey } from "./jobs/jobs.ts";
import type { CallOptions, Transport } from "./transport.ts";

/** A model to prune or to round, with options of `pare prune` under their names in the contract. */
export interface RunRequest extends LayerQuery {
  /** `OWNER/NAME` or `OWNER/NAME@REVISION` on the Hugging Face hub, or the name of a model of the host. */
  readonly model: string;
  /** The format whose grid the weights are rounded to and in which the result is written, such as `gguf:q4_0`. */
  readonly for?: string;
  /** The calibration text itself. @default the text that comes with Pare */
  readonly calibration?: string;
  /** The number of calibration windows. @default 128 */
  readonly samples?: number;
  /** The number of tokens per window. @default the positions of the model, at most 2048, or 512 for the text that comes with Pare */
  readonly seqlen?: number;
  /** `fast`, `default` or `best`. @default "default" */
  readonly preset?: string;
}

/** Options of creating a run. */
export interface CreateOptions extends CallOptions {
  /** The key of the run. The same request with the same key is the same run. @default a random key for each call */
  readonly idempotencyKey?: string;
}

/** The bytes of a file that one request downloads. A failed request is repeated alone. */
const PIECE_BYTES = 2 ** 24;

/** The runs at one host. {@link Pare.runs} has them. */
export class Runs {
  readonly #transport: Transport;

  /** @internal */
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /**
   * Starts a run, and returns it without waiting for its end.
   * @throws {PareError} if the host accepts no runs, has no such model, or has no room for it
   */
  async create(request: RunRequest, options: CreateOptions = {}): Promise<Run> {
    const { idempotencyKey = randomKey(), signal } = options;
    return parseRun(
      await this.#transport.send({
        method: "POST",
        path: "/v1/runs",
        headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
        body: [new TextEncoder().encode(JSON.stringify(request))],
        signal,
      }),
    );
  }

  /** Yields the run now and after each pause, until it has ended. A failed run does not throw. */
  async *follow(id: string, options: FollowOptions = {}): AsyncGenerator<Run, void, void> {
    const { pollMs = DEFAULT_POLL_MS, signal } = options;
    for (const delayMs of growingDelays(pollMs, pollMs)) {
      const run = parseRun(
        await this.#transport.send({ method: "GET", path: `/v1/runs/${id}`, signal }),
      );
      yield run;
      if (hasEnded(run.state)) return;
      await sleep(delayMs, signal);
    }
  }

  /**
   * Downloads a file of the result in pieces, and repeats a piece that fails.
   * @param file one of the `files` of the result
   * @throws {MalformedAnswerError} if the host sends another number of bytes
   */
  async *download(
    id: string,
    { name, bytes }: RunFile,
    { signal }: CallOptions = {},
  ): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    const path = `/v1/runs/${id}/files/${encodeURIComponent(name)}`;
    for (let start = 0; start < bytes; start += PIECE_BYTES) {
      const end = Math.min(start + PIECE_BYTES, bytes), headers = { Range: `bytes=${start}-${end - 1}` };
      const piece = await this.#transport.send({
        method: "GET",
        ...{ path, headers, maxAnswerBytes: end - start, signal },
      });
      if (piece.length !== end - start) {
        throw new MalformedAnswerError(
          `${path}: has ${piece.length} bytes from ${start}, not ${end - start}`,
        );
      }
      yield piece;
    }
  }
}

function parseRun(body: Uint8Array<ArrayBuffer>): Run {
  return parseAnswer(receivedRun, body, "/v1/runs", "a run");
}
