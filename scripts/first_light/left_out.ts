/** Why a step has no figures, although it did not fail: the machine has not what the step needs. */
export interface LeftOut {
  readonly reason: string;
}
