/**
 * Factors Â + ρI for one penalty ρ after another, where Â is the scaled statistics of a layer (`scaled_statistics.ts`). All factors use the
 * same memory. ALPS solves linear systems with each factor before it takes the next one.
 */

import type { Backend } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { allocateLike, copyMatrix, writeDiagonal } from "../linalg/tile_arithmetic.ts";
import { type ReverseCholeskyOutputs, reverseCholeskyTiled } from "../linalg/reverse_cholesky.ts";
import { solveFactored } from "../linalg/solve_factored.ts";

/** The current factor of a ladder. */
export class FactorLadder {
  readonly #owned: ResourceSet;
  readonly #r: TiledMatrix;
  readonly #outputs: ReverseCholeskyOutputs;

  /** @throws {OutOfDeviceMemoryError} */
  constructor(
    private readonly backend: Backend,
    private readonly a: TiledMatrix,
    private readonly blocksize: number,
  ) {
    using allocated = new ResourceSet();
    const allocate = (label: string, elements: number) =>
      allocated.add(backend.createBuffer(label, 4 * elements));
    this.#r = allocated.add(allocateLike(backend, a, "factor of the scaled statistics"));
    this.#outputs = {
      u: allocate("inverse diagonal blocks", a.cols * blocksize),
      diagonal: allocate("diagonal of R", a.cols),
      status: allocate("pivot status", 1),
    };
    this.#owned = allocated.move();
    backend.clear(this.#outputs.status);
  }

  /** Queues the factorisation of Â + ρI. The diagonal of Â is 1. */
  factor(rho: number): void {
    copyMatrix(this.backend, this.a, this.#r);
    writeDiagonal(this.backend, this.#r, new Float32Array(this.a.cols).fill(1 + rho));
    reverseCholeskyTiled(this.backend, this.#r, this.#r, this.#outputs, this.blocksize);
  }

  /** Queues B ← B·(Â + ρI)⁻¹ with the last ρ. */
  solve(b: TiledMatrix): void {
    solveFactored(this.backend, b, { r: this.#r, u: this.#outputs.u, blocksize: this.blocksize });
  }

  /**
   * Waits for all factorisations.
   * @throws {Error} if a pivot was not positive. This is a bug, because Â is positive definite if the layer's damped H has a factor
   */
  async requireFactored(): Promise<void> {
    const [status] = new Uint32Array((await this.backend.read(this.#outputs.status, 0, 4)).buffer);
    if (status !== 0) throw new Error(`alps: the scaled statistics have no factor (column ${status - 1})`);
  }

  destroy(): void {
    this.#owned.destroy();
  }
}
