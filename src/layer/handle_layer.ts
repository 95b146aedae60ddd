/**
 * One layer from the bytes of a request to the bytes of its answer: reads the tensors onto the device, solves the layer, and encodes the
 * result. The host and the edge's small layers both handle a request with it; how bytes come and go is theirs.
 */

import type { Backend } from "../backend/backend.ts";
import { tileEdgeFor } from "../linalg/blocking.ts";
import type { SupportedParameters } from "../protocol/parameters.ts";
import type { Report } from "../protocol/report.ts";
import type { Loan } from "./loan.ts";
import { readLayer } from "./read_layer.ts";
import { checkLoanFits, solveReceived } from "./solve_received.ts";
import { type Answer, encodeAnswer } from "./write_layer.ts";

/** One layer's request. */
export interface LayerRequest {
  /** The bytes of the request, a safetensors file. They are read once. */
  readonly source: AsyncIterable<Uint8Array>;
  /** The length of `source`. */
  readonly totalBytes: number;
  readonly parameters: SupportedParameters;
  /** Stored statistics, if the request names them. The body then has none. The caller returns the loan. */
  readonly loan?: Loan;
}

/** Where and how a layer is solved. */
export interface LayerSetting {
  readonly backend: Backend;
  /** Milliseconds, from any origin. */
  readonly clock: () => number;
  /** The time on `clock` from which the report's total counts; now unless given. */
  readonly start?: number;
  /** Largest tile edge of the matrices; the default of `TiledMatrix` unless given. */
  readonly tileEdge?: number;
  /** Runs the solve in its turn, where several layers share a device. It runs at once unless this is given. */
  readonly inTurn?: <T>(solve: () => Promise<T>) => Promise<T>;
}

/** A solved layer, ready to be sent. */
export interface HandledLayer extends Answer {
  readonly report: Report;
  /** Frees the solution, from which `chunks` reads. Idempotent. */
  destroy(): void;
}

/**
 * Handles one request. If it throws, nothing stays allocated.
 * @throws what `readLayer`, `checkLoanFits` and `solveReceived` throw
 */
export async function handleLayer(request: LayerRequest, setting: LayerSetting): Promise<HandledLayer> {
  const { parameters, loan } = request;
  const { backend, clock, inTurn = (solve) => solve() } = setting;
  const readStart = clock();
  const { start = readStart } = setting;
  using operands = new DisposableStack();
  const received = await readLayer(backend, request.source, {
    totalBytes: request.totalBytes,
    edge: tileEdgeFor(parameters.blocksize, setting.tileEdge),
    statistics: loan ? "elsewhere" : parameters.method === "magnitude" ? "optional" : "required",
  });
  operands.defer(received.destroy);
  if (loan) checkLoanFits(received, loan);
  const read = (clock() - readStart) / 1000;

  const { solution, report: solved } = await inTurn(() =>
    solveReceived(backend, received, loan, parameters, clock)
  );
  using unsent = new DisposableStack();
  unsent.defer(solution.destroy);
  const report: Report = {
    ...solved,
    seconds: { read, ...solved.seconds, total: (clock() - start) / 1000 },
  };
  const dtype = parameters.dtype === "same" ? received.dtype : parameters.dtype;
  const answer = encodeAnswer(backend, solution, dtype, report);
  const resources = unsent.move();
  return { ...answer, report, destroy: () => resources.dispose() };
}
