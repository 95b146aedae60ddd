/**
 * Measures the device memory that one layer needs with a given method. The layer is sent by HTTP to a host,
 * which is the server that solves layers. The memory is compared with the bound that the host computes before
 * it accepts the layer (`src/layer/device_bytes.ts`). Each request gets a fresh backend, because a backend
 * records its peak memory from its creation.
 */

import type { Backend } from "../../../src/backend/backend.ts";
import { createCpuBackend } from "../../../src/cpu/backend.ts";
import { peakDeviceBytes } from "../../../src/layer/device_bytes.ts";
import { tileEdgeFor } from "../../../src/linalg/blocking.ts";
import { SAFETENSORS_TYPE } from "../../../src/protocol/headers.ts";
import { type LayerQuery, layerSearchParams } from "../../../src/protocol/layer_query.ts";
import { layerQuerySchema, resolveParameters } from "../../../src/protocol/parameters.ts";
import type { Report } from "../../../src/protocol/report.ts";
import { encode } from "../../../src/safetensors/encode.ts";
import { floatsToBytes } from "../../../src/tensor/convert.ts";
import { normals } from "../../../tests/support/random.ts";
import { serve } from "../../../routes/serve.ts";

/**
 * The number of calibration inputs x. It is smaller than the number of columns of the default layer. So
 * H = Σ x·xᵀ is singular before it is damped, as it often is for real layers.
 */
const TOKENS = 1024;

/** The device memory of one request. */
export interface DeviceBytes {
  readonly query: LayerQuery;
  readonly rows: number;
  readonly cols: number;
  /** The bound that the host computed. */
  readonly boundBytes: number;
  /** The peak size of all device buffers together, in bytes. 0 if the host refused the request. */
  readonly peakBytes: number;
  readonly seconds: number;
  readonly relativeError: number | null;
  /** The code and the text of the error, if the host refused the request. */
  readonly refusal?: string;
}

/**
 * Starts a host on loopback, sends it a layer with `n` rows and `n` columns, and measures the device memory.
 */
export async function measureDeviceBytes(n: number, query: LayerQuery): Promise<DeviceBytes> {
  let backend: Backend | undefined;
  const open = async () => backend = await createCpuBackend();
  const host = await serve({ open, hostname: "127.0.0.1", port: 0, log: () => {} });
  try {
    const tensor = (rows: number, seed: number) => (
      { dtype: "F16", shape: [rows, n], data: floatsToBytes(normals(rows * n, seed), "F16") } as const
    );
    const body = encode({ weight: tensor(n, 1), inputs: tensor(TOKENS, 2) });
    const parameters = resolveParameters(layerQuerySchema.parse(query));
    const shape = { rows: n, cols: n, edge: tileEdgeFor(parameters.blocksize) };
    const boundBytes = peakDeviceBytes(shape, parameters, backend!);
    const started = performance.now();
    const response = await fetch(`${host.url}/v1/layers?${layerSearchParams(query)}`, {
      method: "POST",
      headers: { "Content-Type": SAFETENSORS_TYPE },
      body,
    });
    const measured = { query, rows: n, cols: n, boundBytes };
    if (!response.ok) {
      const { code, detail } = await response.json();
      return { ...measured, peakBytes: 0, seconds: 0, relativeError: null, refusal: `${code}: ${detail}` };
    }
    const report: Report = JSON.parse(response.headers.get("Pare-Report")!);
    await response.arrayBuffer();
    const seconds = (performance.now() - started) / 1000, peakBytes = backend!.counters.bytesPeak;
    return { ...measured, peakBytes, seconds, relativeError: report.relative_error };
  } finally {
    await host.shutdown();
  }
}
