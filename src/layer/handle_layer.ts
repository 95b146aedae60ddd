/**
 * Handles one layer: reads it, solves it, checks the result, and encodes the answer. The host and the edge call
 * `handleLayer`, which goes from the bytes of a request to the bytes of the answer. A run in one process calls
 * `pruneTensors`, which takes tensors in host memory and statistics on the device, and returns tensors in host memory.
 */

import type { Backend } from "../device/backend.ts";
import { Owned } from "../device/owned.ts";
import { tileEdgeFor, tileEdgeOn } from "../device/tiled_matrix.ts";
import type { Report } from "../protocol/messages.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { checkAnswer } from "./check_answer.ts";
import { compressLayer } from "./compress_layer.ts";
import { takeColumns } from "./linalg/column_order.ts";
import { copyTiled } from "./linalg/tile_arithmetic.ts";
import type { Loan } from "./loan.ts";
import { keepsHessian, type LayerOperands, type LayerParameters, usesStorableFactor } from "./methods.ts";
import { type LayerRequest, readLayer, type TensorsRequest } from "./read_layer.ts";
import { type Answer, encodeAnswer, readTensors, weightReader } from "./write_layer.ts";

export interface LayerOptions {
  readonly backend: Backend;
  readonly clock: () => number;
  /** The time on `clock` at which the report's `total` starts. @default the time of the call */
  readonly start?: number;
  /** The largest tile edge of the matrices. @default the edge for the backend (`tileEdgeOn`) */
  readonly tileEdge?: number;
  /**
   * Waits until the layer may be solved, and returns a function that ends its turn. A server whose device several
   * layers share runs one solve after the other. @default no wait
   */
  readonly takeTurn?: () => Promise<() => void>;
}

/** A solved layer, ready to be sent. */
export interface HandledLayer extends Answer {
  readonly report: Report;
  /** Frees the solution, which `chunks` reads. Idempotent. */
  destroy(): void;
}

/**
 * Handles one request. If it throws, nothing that it allocated stays allocated.
 * @throws the errors of `readLayer`, `compressLayer` and `checkAnswer`
 */
export async function handleLayer(
  request: LayerRequest,
  { backend, clock, start, tileEdge = tileEdgeOn(backend), takeTurn }: LayerOptions,
): Promise<HandledLayer> {
  // Both stacks free their resources when the function throws. The answer takes over the second one.
  using ended = new DisposableStack(), unsent = new DisposableStack();
  const readAt = clock(), edge = tileEdgeFor(request.parameters.blocksize, tileEdge);
  const received = await readLayer(backend, request, edge);
  ended.defer(received.destroy);
  const { parameters, parameters: { answerDtype: dtype } } = received;
  const read = (clock() - readAt) / 1e3;
  if (takeTurn) ended.defer(await takeTurn());

  const { loan } = request, lent = loan && ended.use(lend(backend, loan, received.operands, parameters));
  const operands = lent?.operands ?? received.operands;
  const compressed = await compressLayer(backend, operands, parameters, clock);
  const { solution, factor, report: solved, mayOverflow } = compressed;
  unsent.defer(solution.destroy);
  if (lent && factor) lent.store(factor);
  else factor?.destroy();

  const { q, kept } = solution;
  const answered = kept ? unsent.adopt(takeColumns(backend, q, kept), (part) => part.destroy()) : q;
  const weights = unsent.use(weightReader(backend, answered, dtype));
  // While the check below waits for the device, the device also encodes the first weights of the answer.
  weights.prepare();
  // The dtypes of 16 bits can overflow where f32 does not.
  if (mayOverflow || dtype !== "F32") await checkAnswer(backend, q, dtype);

  const seconds = { read, ...solved.seconds, total: (clock() - (start ?? readAt)) / 1e3 },
    report = { ...solved, seconds };
  const answer = encodeAnswer(backend, solution, dtype, report, weights), resources = unsent.move();
  return { ...answer, report, destroy: () => resources.dispose() };
}

/**
 * Prunes a layer in host memory. Nothing that the call allocates on the device stays allocated.
 * @returns the tensors, named as in an answer, and the report
 * @throws the errors of `handleLayer`, except the errors of reading the body
 */
export async function pruneTensors(
  request: TensorsRequest,
  options: LayerOptions,
): Promise<{ readonly tensors: Map<string, HostTensor>; readonly report: Report }> {
  const { tensors, report, destroy } = await handleLayer(request, options);
  using _solution = { [Symbol.dispose]: destroy };
  return { tensors: await readTensors(tensors), report };
}

/**
 * Returns the operands of a solve with lent statistics. The solve may overwrite its statistics, so it gets a copy. If
 * the loan has a factor for the same damping and block size, the solve uses the factor.
 */
function lend(backend: Backend, loan: Loan, received: LayerOperands, parameters: LayerParameters) {
  const { blocksize } = parameters, { edge } = received.layer.weight;
  const key = usesStorableFactor(parameters) ? { damping: parameters.damping, blocksize } : undefined;
  const factor = key && loan.factor(key), lentValidation = loan.validation ?? received.validation;
  const needsHessian = keepsHessian(parameters, lentValidation !== undefined);
  using copies = new DisposableStack();
  const copyOf = (matrix: Loan["hessian"]) =>
    copies.adopt(new Owned(copyTiled(backend, matrix, edge)), (copy) => copy.destroy());
  const hessian = factor && !needsHessian ? undefined : copyOf(loan.hessian);
  const isCopied = lentValidation && lentValidation.edge !== edge;
  const validation = isCopied ? copyOf(lentValidation).value : lentValidation;
  const owned = copies.move();
  return {
    operands: { ...received, hessian: hessian?.value, factor, validation },
    /** Takes over the factor that the solve made. It may lie in the memory of the copied Hessian. */
    store(made: NonNullable<typeof factor>) {
      if (!key) return made.destroy();
      if (!needsHessian) hessian?.take();
      loan.store(made, key);
    },
    [Symbol.dispose]: () => owned.dispose(),
  };
}
