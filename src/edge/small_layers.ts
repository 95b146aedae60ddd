/**
 * Solves small layers in the Worker itself, with the `cpu` backend on the Worker's one thread, so that a deployment without a GPU host can
 * serve them. Only this part of the edge reads tensors. The whole body is in memory before the solve begins, and the whole answer when it
 * ends. In between nothing is awaited from outside, so the layers of several requests are never in the Worker's 128 MB at once, and a
 * broken connection cannot leave memory in use.
 *
 * Deployed Workers stop the clock while they compute, so the report's `seconds` are 0 there.
 */

import type { Context } from "hono";
import { type Backend, DeviceLostError } from "../backend/backend.ts";
import { createCpuBackend } from "../cpu/backend.ts";
import { handleLayer } from "../layer/handle_layer.ts";
import { layerRefusal } from "../layer/refusals.ts";
import { isSafetensorsType, SAFETENSORS_TYPE } from "../protocol/media_type.ts";
import {
  type ParsedLayerQuery,
  resolveParameters,
  type SupportedParameters,
} from "../protocol/parameters.ts";
import { Refusal } from "../protocol/refusal.ts";
import { reportHeaders } from "../protocol/report_headers.ts";
import { openSafetensors } from "../safetensors/decode.ts";
import type { EdgeEnv } from "./edge_env.ts";
import { bodyLength, passOn } from "./pass_on.ts";
import { MAX_SMALL_BYTES, MAX_SMALL_FEATURES } from "./small_limits.ts";

const LIMITS =
  `the edge itself solves layers of up to ${MAX_SMALL_FEATURES} rows and columns in bodies of up to ${MAX_SMALL_BYTES} bytes`;

/** Answers `POST /v1/layers`, either with a solve in the Worker or by passing the request on. */
export type LayerHandler = (c: Context<EdgeEnv>, query: ParsedLayerQuery) => Promise<Response>;

/** Solves layers with `kernels`, the module for memory that is not shared. Larger layers are passed on to the host. */
export function smallLayers(kernels: WebAssembly.Module): LayerHandler {
  let opened: Promise<Backend> | undefined;
  return async (c, query) => {
    const length = bodyLength(c);
    if (length > MAX_SMALL_BYTES) return await elsewhere(c, `the body has ${length} bytes`);
    const type = c.req.header("Content-Type");
    if (!isSafetensorsType(type)) {
      throw new Refusal(
        "unsupported_media_type",
        `Content-Type ${type ?? "(none)"}: must be ${SAFETENSORS_TYPE}`,
      );
    }
    const parameters = resolveParameters(query);
    if (parameters.hessian !== undefined) return await withStoredStatistics(c);
    const body = new Uint8Array(await c.req.arrayBuffer());
    try {
      const large = await largeSide(body);
      if (large !== undefined) return await elsewhere(c, `the layer has a side of ${large}`, body);
      opened ??= createCpuBackend({ threads: 0, module: kernels });
      return await solve(await opened, body, parameters);
    } catch (error) {
      // If a kernel trapped, the state of its memory is unknown, so the backend is created anew.
      if (error instanceof DeviceLostError) opened = undefined;
      throw layerRefusal(error) ?? error;
    }
  };
}

async function elsewhere(
  c: Context<EdgeEnv>,
  reason: string,
  body?: Uint8Array<ArrayBuffer>,
): Promise<Response> {
  if (c.env.EDGE_HOST) return await passOn(c, body);
  throw new Refusal("no_device", `${reason}, and this edge has no GPU host; ${LIMITS}`, {
    members: { limit: MAX_SMALL_FEATURES },
  });
}

async function withStoredStatistics(c: Context<EdgeEnv>): Promise<Response> {
  if (c.env.EDGE_HOST) return await passOn(c);
  throw new Refusal("hessian_not_found", "this edge stores no statistics: send them with the layer");
}

/** Returns the larger dimension of the layer if it exceeds the limit, else undefined. @throws {SafetensorsError} */
async function largeSide(body: Uint8Array<ArrayBuffer>): Promise<number | undefined> {
  const stream = await openSafetensors(once(body), { totalBytes: body.byteLength });
  await stream.close();
  const { header } = stream;
  const side = Math.max(0, ...header.tensors.find(({ name }) => name === "weight")?.shape ?? []);
  return side > MAX_SMALL_FEATURES ? side : undefined;
}

async function solve(
  backend: Backend,
  body: Uint8Array<ArrayBuffer>,
  parameters: SupportedParameters,
): Promise<Response> {
  const request = { source: once(body), totalBytes: body.byteLength, parameters };
  const answer = await handleLayer(request, { backend, clock: () => performance.now() });
  using held = new DisposableStack();
  held.defer(answer.destroy);
  const bytes = new Uint8Array(answer.byteLength);
  let filled = 0;
  for await (const chunk of answer.chunks()) {
    bytes.set(chunk, filled);
    filled += chunk.byteLength;
  }
  return new Response(bytes, {
    headers: { "Content-Type": SAFETENSORS_TYPE, ...reportHeaders(answer.report) },
  });
}

async function* once(
  bytes: Uint8Array<ArrayBuffer>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  yield await Promise.resolve(bytes);
}
