/**
 * Solves small layers in the edge with the `cpu` backend on the Worker's only thread. A deployment without a GPU host
 * can therefore serve them. No other part of the edge reads tensors.
 *
 * The whole body is read into memory before the solve begins, and the answer is complete before it is sent. The bytes
 * of all bodies in memory are bounded. If a body does not fit, the answer is 429 `busy`. The solve itself waits for no
 * I/O, so it ends before the Worker handles another event. Solves therefore do not compete for the Worker's 128 MB, and
 * a broken connection cannot keep memory in use.
 *
 * A deployed Worker's clock stands still while it computes, so `seconds` in the report is 0 there.
 */

import type { Context } from "hono";
import { type Backend, DeviceLostError } from "../device/backend.ts";
import { createCpuBackend } from "../device/cpu/backend.ts";
import type { EdgeEnv } from "./bindings.ts";
import { proxyToHost } from "./proxy.ts";
import { requireBodyLength } from "./requests/body_length.ts";
import { readBody } from "./requests/read_body.ts";
import { MAX_SMALL_BYTES, MAX_SMALL_BYTES_IN_FLIGHT, MAX_SMALL_FEATURES } from "./settings.ts";
import { handleLayer } from "../layer/handle_layer.ts";
import { layerRefusal } from "../layer/errors.ts";
import { readWholeAnswer } from "../layer/write_layer.ts";
import { reportHeaders, requireSafetensorsType, SAFETENSORS_TYPE } from "../protocol/headers.ts";
import { type ParsedLayerQuery, type ResolvedParameters, resolveParameters } from "../protocol/parameters.ts";
import { Refusal } from "../protocol/refusal.ts";
import { openSafetensors } from "../tensor/safetensors/decode.ts";

/** The Retry-After, in seconds, of the refusal of a layer for which there is no memory. */
const BUSY_RETRY_SECONDS = 1;

const LIMITS_TEXT =
  `the edge itself solves layers of up to ${MAX_SMALL_FEATURES} rows and columns in bodies of up to ${MAX_SMALL_BYTES} bytes`;

/** Answers `POST /v1/layers`, either with a solve in the Worker or by forwarding the request. */
export type LayerHandler = (c: Context<EdgeEnv>, query: ParsedLayerQuery) => Promise<Response>;

/**
 * Returns a handler that solves small layers and forwards larger ones. `kernels` is the WebAssembly module of the `cpu`
 * backend that runs on one thread and needs no shared memory.
 */
export function smallLayers(kernels: WebAssembly.Module): LayerHandler {
  let backend: Promise<Backend> | undefined, freeBytes = MAX_SMALL_BYTES_IN_FLIGHT;
  return async (c, query) => {
    const length = requireBodyLength(c);
    if (length > MAX_SMALL_BYTES) return await proxyOrRefuse(c, `the body has ${length} bytes`);
    requireSafetensorsType(c.req.header("Content-Type"));
    const parameters = resolveParameters(query);
    if (parameters.hessian !== undefined) {
      if (c.env.EDGE_HOST) return await proxyToHost(c);
      throw new Refusal("hessian_not_found", "this edge stores no statistics, so send them with the layer");
    }
    if (length > freeBytes) {
      throw new Refusal("busy", "this edge has no memory for another layer at the moment", {
        retryAfter: BUSY_RETRY_SECONDS,
      });
    }
    freeBytes -= length;
    try {
      const body = await readBody(c, length), dimension = await oversizedDimension(body);
      if (dimension !== undefined) {
        return await proxyOrRefuse(c, `the layer has ${dimension} rows or columns`, body);
      }
      backend ??= createCpuBackend({ threads: 0, module: kernels });
      return await solve(await backend, body, parameters);
    } catch (error) {
      // After a trap in a kernel, the state of the memory is unknown, so the next request creates a new backend.
      if (error instanceof DeviceLostError) backend = undefined;
      throw layerRefusal(error) ?? error;
    } finally {
      freeBytes += length;
    }
  };
}

/** Forwards a layer that is too large for the Worker. @throws {Refusal} `no_device` if there is no host */
async function proxyOrRefuse(
  c: Context<EdgeEnv>,
  reason: string,
  body?: Uint8Array<ArrayBuffer>,
): Promise<Response> {
  if (c.env.EDGE_HOST) return await proxyToHost(c, body);
  throw new Refusal("no_device", `${reason}, but this edge has no GPU host, and ${LIMITS_TEXT}`, {
    members: { limit: MAX_SMALL_FEATURES },
  });
}

/** Returns the larger dimension of the weights if it exceeds the limit, else undefined. @throws {SafetensorsError} */
async function oversizedDimension(body: Uint8Array<ArrayBuffer>): Promise<number | undefined> {
  const stream = await openSafetensors(singleChunk(body), { totalBytes: body.byteLength });
  await stream.close();
  const { header } = stream;
  const dimension = Math.max(0, ...header.tensors.find(({ name }) => name === "weight")?.shape ?? []);
  return dimension > MAX_SMALL_FEATURES ? dimension : undefined;
}

async function solve(
  backend: Backend,
  body: Uint8Array<ArrayBuffer>,
  parameters: ResolvedParameters,
): Promise<Response> {
  const request = { source: singleChunk(body), totalBytes: body.byteLength, parameters };
  const answer = await handleLayer(request, { backend, clock: () => performance.now() });
  using solution = new DisposableStack();
  solution.defer(answer.destroy);
  return new Response(await readWholeAnswer(answer), {
    headers: { "Content-Type": SAFETENSORS_TYPE, ...reportHeaders(answer.report) },
  });
}

async function* singleChunk(
  bytes: Uint8Array<ArrayBuffer>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  yield await Promise.resolve(bytes);
}
