/** The error for an output folder that holds another run. */

/** Reports that a run in the output folder differs from the requested one. The message names what differs and what helps. */
export class OtherRunError extends Error {
  override readonly name = "OtherRunError";
}
