/**
 * Handles the request for one layer, from the bytes of the request to the bytes of the answer: reads the tensors onto the device, solves
 * the layer, and encodes the solution. The host and the edge's small layers both use this function. They differ in how they receive the
 * request and send the answer.
 */

import type { Backend } from "../backend/backend.ts";
import { tileEdgeFor } from "../linalg/blocking.ts";
import type { SupportedParameters } from "../protocol/supported_parameters.ts";
import type { Report } from "../protocol/report.ts";
import type { Loan } from "./loan.ts";
import { readLayer } from "./read_layer.ts";
import { checkLoanFits, solveReceivedLayer } from "./solve_received_layer.ts";
import { type Answer, encodeAnswer } from "./write_layer.ts";

/** The request for one layer. */
export interface LayerRequest {
  /** The bytes of the body, a safetensors file. They are read once. */
  readonly source: AsyncIterable<Uint8Array>;
  /** The length of the body. */
  readonly totalBytes: number;
  readonly parameters: SupportedParameters;
  /** Stored statistics, if the request names them. The body then has none. The caller returns the loan. */
  readonly loan?: Loan;
}

/** The device that solves a layer, and settings that depend on the server. */
export interface LayerOptions {
  readonly backend: Backend;
  /** Milliseconds, from any origin. */
  readonly clock: () => number;
  /**
   * The time on `clock` at which the report's `total` starts.
   * @default the time of the call
   */
  readonly start?: number;
  /**
   * The largest tile edge of the matrices.
   * @default DEFAULT_TILE_EDGE
   */
  readonly tileEdge?: number;
  /**
   * Runs the solve. A server on which several layers share the device uses this to run one solve after the other.
   * @default a function that calls `solve` at once
   */
  readonly runSolve?: <T>(solve: () => Promise<T>) => Promise<T>;
}

/** A solved layer, ready to be sent. */
export interface HandledLayer extends Answer {
  readonly report: Report;
  /** Frees the solution, which `chunks` reads. Idempotent. */
  destroy(): void;
}

/**
 * Handles one request. If it throws, nothing that it allocated stays allocated.
 * @throws what `readLayer`, `checkLoanFits` and `solveReceivedLayer` throw
 */
export async function handleLayer(request: LayerRequest, options: LayerOptions): Promise<HandledLayer> {
  const { parameters, loan } = request;
  const { backend, clock, runSolve = (solve) => solve() } = options;
  const readStart = clock();
  const { start = readStart } = options;
  using operands = new DisposableStack();
  const received = await readLayer(backend, request.source, {
    totalBytes: request.totalBytes,
    edge: tileEdgeFor(parameters.blocksize, options.tileEdge),
    statistics: loan ? "stored" : parameters.method === "magnitude" ? "optional" : "required",
  });
  operands.defer(received.destroy);
  if (loan) checkLoanFits(received, loan);
  const read = (clock() - readStart) / 1000;

  const { solution, report: layerReport } = await runSolve(() =>
    solveReceivedLayer(backend, received, loan, parameters, clock)
  );
  using unsent = new DisposableStack();
  unsent.defer(solution.destroy);
  const report: Report = {
    ...layerReport,
    seconds: { read, ...layerReport.seconds, total: (clock() - start) / 1000 },
  };
  const dtype = parameters.dtype === "same" ? received.dtype : parameters.dtype;
  const answer = encodeAnswer(backend, solution, dtype, report);
  const resources = unsent.move();
  return { ...answer, report, destroy: () => resources.dispose() };
}
