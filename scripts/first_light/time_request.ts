/** Sends one layer over HTTP to a host on this machine that uses the adapter. */

import { selectBackend } from "../../src/host/backends.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { floatsToBytes } from "../../src/tensor/dtype.ts";
import { normals } from "../../tests/support/random.ts";
import { serve } from "../../routes/serve.ts";
import { postLayer } from "../bench/measure/post_layer.ts";

export interface RequestTimes {
  readonly order: number;
  readonly bodyBytes: number;
  readonly wallSeconds: number;
  /** The seconds of each phase as the host reports them. */
  readonly seconds: Readonly<Record<string, number>>;
  readonly relativeError: number | null;
}

/** Sends a layer with `order` rows and columns and as many calibration tokens. */
export async function timeRequest(order: number): Promise<RequestTimes> {
  const open = () => selectBackend("webgpu");
  const host = await serve({ open, hostname: "127.0.0.1", port: 0, log: () => {} });
  try {
    const tensor = (seed: number) => (
      {
        dtype: "F16",
        shape: [order, order],
        data: floatsToBytes(normals(order * order, seed), "F16"),
      } as const
    );
    const body = encode({ weight: tensor(1), inputs: tensor(2) });
    await postLayer(host, body, "sparsity=0.5"); // the first request waits for memory and compilers
    const { report, wallSeconds } = await postLayer(host, body, "sparsity=0.5");
    const { seconds, relative_error: relativeError } = report;
    return { order, bodyBytes: body.byteLength, wallSeconds, seconds: { ...seconds }, relativeError };
  } finally {
    await host.shutdown();
  }
}
