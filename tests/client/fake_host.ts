/** A host made of answers written by the test: it serves the SDK's `fetch` without a socket and records what it was sent. */

import type { Report } from "../../src/protocol/report.ts";
import { decode } from "../../src/safetensors/decode.ts";
import { encode } from "../../src/safetensors/encode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";

/** One request as it arrived. */
export interface Received {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

export type Answer = (received: Received) => Response | Promise<Response>;

/** Answers requests in turn with `answers`, the last one for all that follow. */
export class FakeHost {
  readonly received: Received[] = [];
  readonly #answers: readonly Answer[];

  constructor(...answers: readonly Answer[]) {
    this.#answers = answers;
  }

  readonly fetch = async (request: Request): Promise<Response> => {
    const url = new URL(request.url);
    const received = {
      method: request.method,
      path: url.pathname + url.search,
      headers: request.headers,
      body: new Uint8Array(await request.arrayBuffer()),
    };
    const answer = this.#answers[Math.min(this.received.length, this.#answers.length - 1)];
    this.received.push(received);
    return await answer(received);
  };

  /** `METHOD path` of each request. */
  get log(): string[] {
    return this.received.map(({ method, path }) => `${method} ${path}`);
  }
}

/** A problem+json answer. */
export function problem(
  status: number,
  code: string,
  headers: Record<string, string> = {},
): Answer {
  const body = { type: `urn:pare:problem:${code}`, title: "t", status, detail: `detail of ${code}`, code };
  return () =>
    Response.json({ ...body, request_id: "r-1" }, {
      status,
      headers: { "Content-Type": "application/problem+json", ...headers },
    });
}

/** 204, as PUT and DELETE may answer. */
export const noContent: Answer = () => new Response(null, { status: 204 });

/** A report with nothing remarkable in it. */
export function report(rows: number, cols: number): Report {
  return {
    method: "sparsegpt",
    rows,
    cols,
    pattern: "unstructured",
    sparsity: 0.5,
    zeros: (rows * cols) / 2,
    loss: 1.5,
    relative_error: 0.25,
    damping: 0.01,
    backend: "cpu",
    adapter: "fake",
    seconds: { read: 0, factor: 0, solve: 0, refit: 0, total: 0 },
    factor_reused: false,
  };
}

/** Answers `POST /v1/layers` as a host that prunes nothing: the weight comes back as it was sent. */
export function solved({ body }: Received): Response {
  const weight = decode(body).tensors.get("weight")!;
  const [rows, cols] = weight.shape;
  const bytesPerRow = Math.ceil(cols / 8);
  const mask: HostTensor = {
    dtype: "U8",
    shape: [rows, bytesPerRow],
    data: new Uint8Array(rows * bytesPerRow).fill(255),
  };
  return new Response(encode({ weight, mask }, { report: JSON.stringify(report(rows, cols)) }));
}

/** An F32 tensor of `shape` holding `values`. */
export function f32(shape: readonly number[], values: readonly number[]): HostTensor {
  return { dtype: "F32", shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}
