/** Counts the copies and the waits of requests to a host whose device is a WebGPU adapter. */

import type { Backend } from "../../../src/device/backend.ts";
import { createApp } from "../../../routes/app.ts";
import { startHostServices } from "../../../src/host/host_services.ts";
import { SAFETENSORS_TYPE } from "../../../src/protocol/headers.ts";
import { encodeHeader, type TensorSpec } from "../../../src/tensor/safetensors/encode.ts";
import type { FloatDtype } from "../../../src/tensor/dtype.ts";
import { connection, layerPieces } from "./connection.ts";
import { CopyCounter, type HostWork } from "./copy_counter.ts";

/** The copies and the waits of one request. */
export interface RequestCounts {
  readonly rows: number;
  readonly cols: number;
  readonly dtype: FloatDtype;
  readonly requestBytes: number;
  readonly answerBytes: number;
  /** The work until the last tensor of the request is on the device and checked. */
  readonly reading: HostWork;
  readonly solving: HostWork;
  /** The work until the connection has taken the last byte of the answer. */
  readonly answering: HostWork;
}

/**
 * Sends one layer to a host and counts the host's copies and waits. The weights are pseudorandom, and the statistics
 * are the packed identity, so that no program has to hold the body in memory.
 * @param query the parameters of the request, such as `method=sparsegpt`
 */
export async function countRequest(
  open: () => Promise<Backend>,
  { rows, cols, dtype, query }: { rows: number; cols: number; dtype: FloatDtype; query: string },
): Promise<RequestCounts> {
  const services = await startHostServices(open);
  try {
    const app = createApp({ ...services, version: "0.0.0-bench" });
    const { solveQueue } = services.device.session();
    using counter = new CopyCounter();
    let reading: HostWork | undefined, solving: HostWork | undefined;
    const acquire = solveQueue.acquire.bind(solveQueue);
    solveQueue.acquire = async (signal) => {
      reading = counter.takeCounts();
      const release = await acquire(signal);
      return () => {
        solving = counter.takeCounts();
        release();
      };
    };
    const specs: TensorSpec[] = [
      { name: "hessian_upper", dtype: "F32", shape: [(cols * (cols + 1)) / 2] },
      { name: "weight", dtype, shape: [rows, cols] },
    ];
    const header = encodeHeader(specs), requestBytes = header.bytes.byteLength + header.dataBytes;
    const init: RequestInit & { readonly duplex: "half" } = {
      method: "POST",
      headers: { "Content-Type": SAFETENSORS_TYPE, "Content-Length": String(requestBytes) },
      body: connection(counter, layerPieces(header.bytes, rows, cols, dtype)),
      duplex: "half",
    };
    counter.takeCounts();
    const response = await app.request(`/v1/layers?${query}`, init);
    if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
    let answerBytes = 0;
    for await (const piece of response.body!) answerBytes += piece.byteLength;
    const answering = counter.takeCounts();
    return {
      rows,
      cols,
      dtype,
      requestBytes,
      answerBytes,
      reading: reading!,
      solving: solving!,
      answering,
    };
  } finally {
    await services.device.close();
  }
}
