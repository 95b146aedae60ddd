/** The reason why a step has no figures although it did not fail: the machine lacks something that the step needs. */
export interface LeftOut {
  readonly reason: string;
}
