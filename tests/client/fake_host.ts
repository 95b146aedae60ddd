/**
 * A fake host, which is a Pare server whose answers the test supplies. It implements `fetch` for the SDK
 * without a socket and records all requests.
 */

import type { LayerGroup, ModelSource } from "../../src/client/model_pruner.ts";
import type { Ready, Report } from "../../src/protocol/messages.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { parsePattern } from "../../src/tensor/pattern.ts";
import { BYTES_PER_ELEMENT, bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { gram, quadraticForm } from "../reference/hessian.ts";

/** The answer of `/readyz` of a host. */
export const READY: Ready = {
  status: "ready",
  version: "0.0.0",
  backend: "cpu",
  adapter: { name: "fake", software: true },
  limits: { max_body_bytes: 1, max_features: 1, max_blocksize: 1, max_buffer_bytes: 1 },
  self_check: null,
  queue: { waiting: 0, resident: 0 },
};

/** A request that the fake host received. */
export interface Received {
  readonly method: string;
  /** The path with the query. */
  readonly path: string;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** Answers one request. */
export type Answer = (received: Received) => Response | Promise<Response>;

/** Answers the first request with the first of `answers`, and so on. The last answer is used for all later requests. */
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

  /** All requests as `METHOD path`. */
  get log(): string[] {
    return this.received.map(({ method, path }) => `${method} ${path}`);
  }
}

/** Answers with a problem+json body. */
export function problem(
  status: number,
  code: string,
  headers: Record<string, string> = {},
): () => Response {
  const body = { type: `urn:pare:problem:${code}`, title: "t", status, detail: `detail of ${code}`, code };
  return () =>
    Response.json({ ...body, request_id: "r-1" }, {
      status,
      headers: { "Content-Type": "application/problem+json", ...headers },
    });
}

/** The statistics that fake hosts have stored, by their paths, which have their digests. */
const STORED = new Map<string, Statistics>();

/** Answers with the status 204, as a host answers PUT and DELETE. Stores the statistics of a PUT. */
export const noContent: Answer = ({ method, path, body }) => {
  if (method === "PUT" && path.startsWith("/v1/hessians/")) STORED.set(path, decode(body).tensors);
  return new Response(null, { status: 204 });
};

/** Makes a report of a layer with half of its weights pruned. */
export function report(rows: number, cols: number): Report {
  return {
    method: "sparsegpt",
    rows,
    cols,
    pattern: "unstructured",
    sparsity: 0.5,
    zeros: Math.round(rows * cols / 2),
    loss: 1.5,
    relative_error: 0.25,
    damping: 0.01,
    iterations: 0,
    refit_steps: 0,
    notes: [],
    backend: "cpu",
    adapter: "fake",
    seconds: { read: 0, factor: 0, solve: 0, refit: 0, total: 0 },
    factor_reused: false,
  };
}

/** Answers `POST /v1/layers` like a host that prunes the first entries of a weight, or of each group of a pattern n:m. */
export function solved({ path, body }: Received): Response {
  const query = new URL(path, "http://fake").searchParams, { tensors } = decode(body);
  return new Response(answerOf(tensors.get("weight")!, {
    sparsity: Number(query.get("sparsity") ?? 0.5),
    pattern: query.get("pattern") ?? "unstructured",
    statistics: STORED.get(`/v1/hessians/${query.get("hessian")}`) ?? tensors,
  }));
}

/** The tensors of a file, of which `inputs`, `hessian` or `hessian_upper` is used. */
export type Statistics = ReadonlyMap<string, HostTensor>;

/** Returns the errors of a report, which are null without statistics. */
export function errorsOf(
  before: HostTensor,
  after: HostTensor,
  statistics: Statistics = new Map(),
): Pick<Report, "loss" | "relative_error"> {
  const [rows, cols] = before.shape, hessian = wholeHessian(statistics, cols);
  if (!hessian) return { loss: null, relative_error: null };
  const [old, values] = [before, after].map(({ data, dtype }) => bytesToFloats(data, dtype as FloatDtype));
  const formOf = (m: Float32Array) => quadraticForm(m, hessian, rows, cols);
  const loss = formOf(values.map((value, i) => value - old[i])), form = formOf(old);
  return { loss, relative_error: form > 0 ? loss / form : null };
}

function wholeHessian(statistics: Statistics, n: number): ArrayLike<number> | undefined {
  const whole = statistics.get("hessian"), upper = statistics.get("hessian_upper");
  const inputs = statistics.get("inputs");
  if (inputs) {
    return gram(
      Float64Array.from(bytesToFloats(inputs.data, inputs.dtype as FloatDtype)),
      inputs.shape[0],
      n,
    );
  }
  if (!upper) return whole && bytesToFloats(whole.data, "F32");
  const packed = bytesToFloats(upper.data, "F32"), h = new Float32Array(n * n);
  for (let i = 0, at = 0; i < n; i++) {
    for (let j = i; j < n; j++) h[i * n + j] = h[j * n + i] = packed[at++];
  }
  return h;
}

/** Returns the answer of this host for a weight. */
export function answerOf(
  { dtype, shape, data }: HostTensor,
  { sparsity = 0.5, pattern = "unstructured", statistics }: {
    readonly sparsity?: number;
    readonly pattern?: string;
    readonly statistics?: Statistics;
  } = {},
): Uint8Array<ArrayBuffer> {
  const [rows, cols] = shape, parsed = parsePattern(pattern);
  const isKept = (entry: number) => {
    if (parsed.kind !== "n:m") return entry >= Math.round(sparsity * rows * cols);
    const { keep, group } = parsed, col = entry % cols, size = Math.min(group, cols - col + col % group);
    return col % group >= size - Math.ceil(keep * size / group);
  };
  const weight: HostTensor = { dtype, shape, data: data.slice() };
  const width = BYTES_PER_ELEMENT[dtype];
  let zeros = 0;
  for (let i = 0; i < rows * cols; i++) {
    if (isKept(i)) continue;
    weight.data.fill(0, width * i, width * (i + 1));
    zeros++;
  }
  const errors = errorsOf({ dtype, shape, data }, weight, statistics);
  const metadata = { report: JSON.stringify({ ...report(rows, cols), zeros, ...errors }) };
  return encode({ weight, mask: maskOf(rows, cols, isKept) }, metadata);
}

/** Makes the mask of an answer. `isKept` is given the number of an entry in row-major order. */
export function maskOf(rows: number, cols: number, isKept: (entry: number) => boolean): HostTensor {
  const bytesPerRow = Math.ceil(cols / 8), data = new Uint8Array(rows * bytesPerRow);
  for (let i = 0; i < rows * cols; i++) {
    const col = i % cols;
    if (isKept(i)) data[Math.floor(i / cols) * bytesPerRow + (col >> 3)] |= 1 << (col & 7);
  }
  return { dtype: "U8", shape: [rows, bytesPerRow], data };
}

/** Makes a model of one group of layers. Without `replace`, their new weights are dropped. */
export function modelOf(group: Partial<LayerGroup> & Pick<LayerGroup, "layers">): ModelSource {
  const replace = () => Promise.resolve();
  return {
    layerCount: group.layers.length,
    async *groups() {
      yield await Promise.resolve({ block: 0, replace, ...group });
    },
  };
}

/** Makes an F32 tensor. */
export function f32(shape: readonly number[], values: readonly number[]): HostTensor {
  return { dtype: "F32", shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}
